# Copyright 2026 The mtl_perception authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The messages of an mcap file that is damaged or has no end."""

from io import BytesIO
from pathlib import Path
import struct
from typing import BinaryIO, Callable, Dict, Iterator, List, Set, Tuple
import zlib

import lz4.frame
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Schema
from mcap.writer import MCAP0_MAGIC
from mtl_perception.bag_records import QOS, Topic, TYPE_HASH
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import parse_qos
import yaml
import zstandard

OPCODES = {*Opcode, *range(0x80, 0x100)}  # the upper half is for anybody's own
READ = (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE)
RECORD_BYTES = 2**30  # a chunk that claims more is damaged
HEAD = struct.Struct('<BQ')
MESSAGE_HEAD = struct.Struct('<HIQQ')
CHUNK_HEAD = struct.Struct('<QQQII')
DECOMPRESSORS: Dict[str, Callable] = {
    '': lambda: bytes,
    'zstd': lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
    'lz4': lambda: lz4.frame.LZ4FrameDecompressor().decompress}
RECORD_ERRORS = (McapError, struct.error, ValueError, LookupError, RuntimeError, ReaderError,
                 zstandard.ZstdError, yaml.YAMLError, MemoryError)

Message = Tuple[Topic, int, bytes]


class McapWalk:
    """
    Walks over the records of one file, past those that make no sense.

    :param file: to read
    :param losses: gets a line for each thing that cannot be read
    """

    def __init__(self, file: Path, losses: List[str]):
        """Start with nothing known."""
        self._file = file
        self._losses = losses
        self._schemas: Dict[int, Schema] = {}
        self._topics: Dict[int, Topic] = {}
        self._left_out: Set[int] = set()

    def messages(self) -> Iterator[Message]:
        """Yield what can be read, in the file's order."""
        with self._file.open('rb') as stream:
            if stream.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
                self._lose('expected an mcap, got something else')
                return
            yield from self._walk(stream, self._file.stat().st_size)

    def _lose(self, what: str) -> None:
        self._losses.append(f'{self._file}: {what}')

    def _walk(self, stream: BinaryIO, size: int) -> Iterator[Message]:
        while True:
            start = stream.tell()
            head = stream.read(HEAD.size)
            opcode, length = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0)
            if opcode == Opcode.DATA_END:
                return
            left = size - stream.tell()
            whole = opcode in OPCODES and length <= left
            try:
                if opcode == Opcode.CHUNK:
                    yield from self._chunk(stream.read(min(length, left, RECORD_BYTES)), whole)
                elif whole and opcode in READ:
                    yield from self._record(opcode, stream.read(length))
            except RECORD_ERRORS as error:
                self._lose(f'damaged from byte {start} to {min(start + length, size)} of {size} '
                           f'({" ".join(str(error).split()) or type(error).__name__})')
            after = start + HEAD.size + length
            if not whole:
                after = next((place for place in self._index(stream) if place > start), 0)
                self._lose(f'nothing can be read from byte {start} to {after or size} of {size}')
                if not after:
                    return
            stream.seek(after)

    def _index(self, stream: BinaryIO) -> List[int]:
        """Return where the chunks begin, if the file has its end."""
        try:
            stream.seek(0)
            summary = make_reader(stream).get_summary()
            return sorted(chunk.chunk_start_offset for chunk in summary.chunk_indexes)
        except (*RECORD_ERRORS, AttributeError):
            return []

    def _chunk(self, content: bytes, whole: bool) -> Iterator[Message]:
        _, _, size, checksum, name_length = CHUNK_HEAD.unpack_from(content)
        begin = CHUNK_HEAD.size + name_length
        compression = content[CHUNK_HEAD.size:begin].decode()
        records = DECOMPRESSORS[compression]()(content[begin + 8:])
        if whole and (len(records) != size or checksum and zlib.crc32(records) != checksum):
            raise ValueError('wrong checksum')
        place = 0
        while place + HEAD.size <= len(records):
            opcode, length = HEAD.unpack_from(records, place)
            place += HEAD.size + length
            if place <= len(records):
                yield from self._record(opcode, records[place - length:place])

    def _record(self, opcode: int, content: bytes) -> Iterator[Message]:
        fields = ReadDataStream(BytesIO(content))
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(fields)
            self._schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            self._add(Channel.read(fields))
        elif opcode == Opcode.MESSAGE:
            number, _, recorded_ns, _ = MESSAGE_HEAD.unpack_from(content)
            if number not in self._left_out:
                yield self._topics[number], recorded_ns, content[MESSAGE_HEAD.size:]

    def _add(self, channel: Channel) -> None:
        if channel.id in self._topics or channel.id in self._left_out:
            return
        if channel.message_encoding != 'cdr':
            self._left_out.add(channel.id)
            self._lose(f'{channel.topic} is left out: expected messages in cdr, got '
                       f'{channel.message_encoding!r}')
            return
        schema = self._schemas[channel.schema_id]
        self._topics[channel.id] = Topic(
            channel.topic, schema.name, schema.encoding, schema.data.decode(),
            channel.metadata.get(TYPE_HASH, ''), tuple(parse_qos(channel.metadata.get(QOS, ''))))
