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
"""
A rosbag2 as mcap records: written piece by piece, finished by an index of what is there.

Chunks know neither their place in the file nor each other, so pieces that were written apart are
put together by copying bytes. Everything else a finished bag needs is found by walking over it.
"""

from collections import Counter
from dataclasses import dataclass
import os
from pathlib import Path
import struct
from typing import BinaryIO, Dict, List, Mapping, Optional, Tuple
import zlib

import lz4.frame
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel, ChunkIndex, DataEnd, Footer, Header, MessageIndex, Metadata, MetadataIndex, Schema,
    Statistics, SummaryOffset)
from mcap.writer import MCAP0_MAGIC
from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import dump_qos_v8
import yaml

# The newest layout of metadata.yaml that Humble's rosbag2 reads too.
METADATA_VERSION = 8
CHUNK_BYTES = 2**20
# Of a camera's frames zstd leaves three quarters of what this does, and takes twice its time.
COMPRESSION, LEVEL = 'lz4', -8
QOS, TYPE_HASH = 'offered_qos_profiles', 'topic_type_hash'


@dataclass(frozen=True)
class Topic:
    """
    A topic as a bag declares it.

    :param name: of the topic
    :param msgtype: such as ``std_msgs/msg/String``
    :param encoding: of the definition, ``ros2msg`` or ``ros2idl``, empty if it is not known
    :param definition: of the type and all that it is made of
    :param type_hash: RIHS01 of the type, empty if it is not known
    :param qos: under which it was offered
    """

    name: str
    msgtype: str
    encoding: str
    definition: str
    type_hash: str = ''
    qos: Tuple[Qos, ...] = ()


def compress(data: bytes) -> bytes:
    """Return bytes as chunks hold them."""
    return lz4.frame.compress(data, compression_level=LEVEL)


class RecordWriter:
    """
    Writes topics and messages as records, messages in compressed chunks with their index.

    :param stream: to append to
    """

    def __init__(self, stream: BinaryIO):
        """Start an empty chunk."""
        self._stream = stream
        self._schemas: Dict[Tuple[str, str, str], int] = {}
        self._chunk = bytearray()
        self._places: Dict[int, List[Tuple[int, int]]] = {}

    def start_file(self) -> None:
        """Write what a file begins with."""
        builder = RecordBuilder()
        builder.write(MCAP0_MAGIC)
        Header('ros2', 'mtl_perception').write(builder)
        self._stream.write(builder.end())

    def declare(self, number: int, topic: Topic) -> None:
        """
        Write what a topic is, before its first message.

        :param number: of the topic in this file, from 1
        """
        builder = RecordBuilder()
        key = (topic.msgtype, topic.encoding, topic.definition)
        if key not in self._schemas:
            self._schemas[key] = len(self._schemas) + 1
            Schema(id=self._schemas[key], name=topic.msgtype, encoding=topic.encoding,
                   data=topic.definition.encode()).write(builder)
        Channel(id=number, schema_id=self._schemas[key], topic=topic.name,
                message_encoding='cdr', metadata={
                    QOS: dump_qos_v8(list(topic.qos)), TYPE_HASH: topic.type_hash}).write(builder)
        self._stream.write(builder.end())

    def write(self, number: int, recorded_ns: int, data: bytes) -> None:
        """Write a message of a declared topic."""
        self._places.setdefault(number, []).append((recorded_ns, len(self._chunk)))
        self._chunk += struct.pack('<BQHIQQ', Opcode.MESSAGE, 22 + len(data), number, 0,
                                   recorded_ns, recorded_ns)
        self._chunk += data
        if len(self._chunk) >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the chunk that has grown so far."""
        if not self._chunk:
            return
        times = [time for places in self._places.values() for time, _ in places]
        packed = compress(self._chunk)
        head = struct.pack(f'<QQQII{len(COMPRESSION)}sQ', min(times), max(times),
                           len(self._chunk), zlib.crc32(self._chunk), len(COMPRESSION),
                           COMPRESSION.encode(), len(packed))
        builder = RecordBuilder()
        for number, places in sorted(self._places.items()):
            MessageIndex(number, places).write(builder)
        self._stream.write(struct.pack('<BQ', Opcode.CHUNK, len(head) + len(packed)))
        self._stream.write(head)
        self._stream.write(packed)
        self._stream.write(builder.end())
        self._chunk, self._places = bytearray(), {}


@dataclass
class _Contents:
    """What the records of a file are."""

    schemas: Dict[int, Schema]
    channels: Dict[int, Channel]
    chunks: List[ChunkIndex]
    counts: Counter


def _read_contents(stream: BinaryIO, end: int) -> _Contents:
    """Walk over the records, past the messages themselves."""
    contents = _Contents({}, {}, [], Counter())
    fields = ReadDataStream(stream)
    stream.seek(len(MCAP0_MAGIC))
    while (start := stream.tell()) < end:
        opcode, length = fields.read1(), fields.read8()
        after = stream.tell() + length
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(fields)
            contents.schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(fields)
            contents.channels[channel.id] = channel
        elif opcode == Opcode.CHUNK:
            first, last, size, _ = (fields.read8(), fields.read8(), fields.read8(),
                                    fields.read4())
            compression, packed = fields.read_prefixed_string(), fields.read8()
            contents.chunks.append(ChunkIndex(
                message_start_time=first, message_end_time=last, chunk_start_offset=start,
                chunk_length=after - start, message_index_offsets={}, message_index_length=0,
                compression=compression, compressed_size=packed, uncompressed_size=size))
        elif opcode == Opcode.MESSAGE_INDEX:
            index = MessageIndex.read(fields)
            contents.chunks[-1].message_index_offsets[index.channel_id] = start
            contents.chunks[-1].message_index_length += after - start
            contents.counts[index.channel_id] += len(index.records)
        stream.seek(after)
    return contents


def _metadata(name: str, contents: _Contents, custom: Optional[Mapping[str, str]]
              ) -> dict:
    """Return what metadata.yaml says."""
    start = min((chunk.message_start_time for chunk in contents.chunks), default=0)
    end = max((chunk.message_end_time for chunk in contents.chunks), default=0)

    def span() -> dict:  # of each its own, or YAML makes one refer to the other
        return {'starting_time': {'nanoseconds_since_epoch': start},
                'duration': {'nanoseconds': end - start},
                'message_count': contents.counts.total()}
    return {
        'version': METADATA_VERSION, 'storage_identifier': 'mcap',
        'relative_file_paths': [name], **span(),
        'topics_with_message_count': [
            {'topic_metadata': {
                'name': channel.topic, 'type': contents.schemas[channel.schema_id].name,
                'serialization_format': 'cdr', QOS: channel.metadata[QOS],
                'type_description_hash': channel.metadata[TYPE_HASH]},
             'message_count': contents.counts[number]}
            for number, channel in contents.channels.items()],
        'compression_format': '', 'compression_mode': '',
        'files': [{'path': name, **span()}],
        'custom_data': dict(custom or {}) or None, 'ros_distro': 'mtl_perception'}


def _summary(contents: _Contents, metadata: MetadataIndex, start: int) -> bytes:
    """Return the records that let a reader jump, and where each kind of them begins."""
    statistics = Statistics(
        message_count=contents.counts.total(), schema_count=len(contents.schemas),
        channel_count=len(contents.channels), attachment_count=0, metadata_count=1,
        chunk_count=len(contents.chunks),
        message_start_time=min((c.message_start_time for c in contents.chunks), default=0),
        message_end_time=max((c.message_end_time for c in contents.chunks), default=0),
        channel_message_counts=dict(contents.counts))
    builder, offsets = RecordBuilder(), []
    for opcode, records in ((Opcode.SCHEMA, contents.schemas.values()),
                            (Opcode.CHANNEL, contents.channels.values()),
                            (Opcode.STATISTICS, [statistics]),
                            (Opcode.CHUNK_INDEX, contents.chunks),
                            (Opcode.METADATA_INDEX, [metadata])):
        begin = builder.count
        for record in records:
            record.write(builder)
        if builder.count > begin:
            offsets.append(SummaryOffset(opcode, start + begin, builder.count - begin))
    offset_start = start + builder.count
    for offset in offsets:
        offset.write(builder)
    records = builder.end()
    footer = struct.pack('<BQQQ', Opcode.FOOTER, 20, start, offset_start)
    Footer(start, offset_start, zlib.crc32(footer, zlib.crc32(records))).write(builder)
    return records + builder.end() + MCAP0_MAGIC


def finish_bag(file: Path, custom: Optional[Mapping[str, str]] = None) -> None:
    """
    Make a bag of records: the index at the end of its file and ``metadata.yaml`` beside it.

    :param file: that ``RecordWriter`` wrote, magic first, in the bag's folder
    :param custom: what else metadata.yaml is to keep
    """
    with file.open('r+b') as stream:
        end = stream.seek(0, os.SEEK_END)
        contents = _read_contents(stream, end)
        information = _metadata(file.name, contents, custom)
        builder = RecordBuilder()
        Metadata('rosbag2', {'serialized_metadata': yaml.safe_dump(information)}).write(builder)
        metadata = MetadataIndex(end, builder.count, 'rosbag2')
        DataEnd(0).write(builder)
        stream.seek(end)
        stream.write(builder.end())
        stream.write(_summary(contents, metadata, stream.tell()))
    (file.parent / 'metadata.yaml').write_text(
        yaml.safe_dump({'rosbag2_bagfile_information': information}), encoding='utf-8')
