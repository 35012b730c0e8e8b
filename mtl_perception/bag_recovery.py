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
"""What can still be read of a bag that is damaged, cut short or was never finished."""

from contextlib import closing
import os
from pathlib import Path
import shutil
import sqlite3
import struct
from typing import Dict, Iterator, List, Tuple
from urllib.parse import quote

from mtl_perception.bag_records import finish_bag, RecordWriter, Topic
from mtl_perception.bags import bag_types, definition_of
from mtl_perception.errors import ConfigError, SourceError
from mtl_perception.mcap_walk import McapWalk, Message, RECORD_ERRORS
from rosbags.rosbag2.metadata import parse_qos
import yaml
import zstandard

RECOVERED = 'recovered'
SQLITE_MAGIC = b'SQLite format 3\0'
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


def storage_files(path: Path) -> List[Path]:
    """Return the files with messages in a bag's folder, in their order, or the one at ``path``."""
    if not path.is_dir():
        return [path]
    files = [file for file in path.iterdir()
             if file.name.removesuffix('.zstd').endswith(('.mcap', '.db3'))]

    def number(file: Path) -> Tuple[int, str]:
        digits = file.name.partition('.')[0].rpartition('_')[2]
        return (int(digits) if digits.isdecimal() else 0, file.name)
    return sorted(files, key=number)


def is_packed(path: Path) -> bool:
    """Tell whether files of a bag are compressed as a whole."""
    return any(file.suffix == '.zstd' for file in storage_files(path))


class _Sqlite:
    """
    Reads the rows of one file one after the other, past those that are damaged.

    :param losses: gets a line if there are any
    """

    def __init__(self, file: Path, losses: List[str]):
        self._file = file
        self._losses = losses

    def messages(self) -> Iterator[Message]:
        """Yield what can be read, as it was written."""
        try:
            with closing(self._connect()) as database:
                yield from self._rows(database, self._topics(database))
        except (sqlite3.Error, *RECORD_ERRORS) as error:
            self._losses.append(f'{self._file}: {error}')

    def _connect(self) -> sqlite3.Connection:
        # What the file's log holds of an unfinished recording belongs to it; where the folder
        # cannot be written, it cannot be read.
        for option in ('mode=ro', 'immutable=1'):
            database = sqlite3.connect(f'file:{quote(str(self._file))}?{option}', uri=True)
            database.row_factory = sqlite3.Row
            try:
                # Without it sqlite refuses any file that is shorter than its first page says.
                database.execute('PRAGMA writable_schema=ON')
                database.execute('SELECT name FROM sqlite_master').fetchall()
                return database
            except sqlite3.OperationalError:
                database.close()
        raise ValueError('expected a sqlite3 bag, got a file that cannot be opened')

    def _topics(self, database: sqlite3.Connection) -> Dict[int, Topic]:
        tables = {row[0] for row in database.execute('SELECT name FROM sqlite_master')}
        definitions = {}
        if 'message_definitions' in tables:
            definitions = {row['topic_type']: (row['encoding'], row['encoded_message_definition'])
                           for row in database.execute('SELECT * FROM message_definitions')}
        topics = {}
        for row in map(dict, database.execute('SELECT * FROM topics')):
            definition = definitions.get(row['type']) or definition_of(bag_types(), row['type'])
            topics[row['id']] = Topic(
                row['name'], row['type'], *definition, row.get('type_description_hash', ''),
                tuple(parse_qos(row.get('offered_qos_profiles', ''))))
        return topics

    def _rows(self, database: sqlite3.Connection, topics: Dict[int, Topic]) -> Iterator[Message]:
        last, step = -1, 1
        while last < 2**62:
            try:
                for row in database.execute('SELECT id, topic_id, timestamp, data FROM messages '
                                            'WHERE id > ? ORDER BY id', (last,)):
                    last, step = row['id'], 1
                    yield topics[row['topic_id']], row['timestamp'], row['data']
                return
            except sqlite3.Error as error:
                if step == 1:
                    self._losses.append(f'{self._file}: damaged after message {last} ({error})')
                last, step = last + step, 2 * step


def _plain_file(file: Path, folder: Path, losses: List[str]) -> Path:
    """Return a file that can be read, one in ``folder`` with as much as there is if need be."""
    target = folder / file.name.removesuffix('.zstd')
    if file.suffix == '.zstd':
        with file.open('rb') as packed, target.open('wb') as plain:
            try:
                zstandard.ZstdDecompressor().copy_stream(packed, plain)
            except zstandard.ZstdError as error:
                losses.append(f'{file}: {error}')
    elif _torn_bytes(file):
        shutil.copyfile(file, target)
    else:
        return file
    os.truncate(target, target.stat().st_size - _torn_bytes(target))
    return target


def _torn_bytes(file: Path) -> int:
    """Return how much of a last page a sqlite3 file has; sqlite would read zeros for the rest."""
    with file.open('rb') as stream:
        head = stream.read(18)
    page_bytes = int.from_bytes(head[16:18], 'big') if head.startswith(SQLITE_MAGIC) else 0
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    return file.stat().st_size % page_bytes if page_bytes else 0


def _plain(data: bytes) -> bytes:
    """Return a message that may be compressed by itself; no CDR begins like that."""
    return zstandard.ZstdDecompressor().decompress(data) if data.startswith(ZSTD_MAGIC) else data


def _expected(path: Path) -> int:
    """Return how many messages a bag's metadata tells of, 0 if it cannot be read."""
    try:
        metadata = yaml.safe_load((path / 'metadata.yaml').read_text(encoding='utf-8'))
        return int(metadata['rosbag2_bagfile_information']['message_count'])
    except (OSError, yaml.YAMLError, ValueError, LookupError, TypeError):
        return 0


def recover(path: Path, folder: Path) -> Tuple[Path, List[str]]:
    """
    Copy all messages that can be read into a new bag, out of compressed files too.

    :param path: a bag's folder, with or without metadata.yaml, or one file of messages
    :param folder: that the bag and files on the way to it are put into
    :return: the bag, and a line for everything that is missing in it
    :raises SourceError: if there is no message
    :raises ConfigError: if the bag cannot be written
    """
    losses: List[str] = []
    try:
        count = _copy(path, folder, losses)
    except OSError as error:
        raise ConfigError(f'{folder}: what can be read of {path} cannot be written: '
                          f'{error.strerror}') from None
    if not count:
        raise SourceError(f'{path}: expected messages, got none that can be read'
                          + ''.join(f'; {loss}' for loss in losses[:1]))
    expected = _expected(path)
    if losses or count < expected:
        losses.append(f'{path}: {count}{f" of {expected}" if expected else ""} messages could be '
                      'read')
    elif path.is_dir() and not expected:
        losses.append(f'{path}: expected a metadata.yaml, got a recording that was not finished; '
                      f'{count} messages could be read')
    return folder / RECOVERED, losses


def _copy(path: Path, folder: Path, losses: List[str]) -> int:
    """Write the bag and return the number of its messages."""
    numbers: Dict[Topic, int] = {}
    count = 0
    file = folder / RECOVERED / f'{RECOVERED}.mcap'
    file.parent.mkdir(parents=True)
    with file.open('wb') as stream:
        writer = RecordWriter(stream)
        writer.start_file()
        for packed in storage_files(path):
            plain = _plain_file(packed, folder, losses)
            kind = _Sqlite if plain.suffix == '.db3' else McapWalk
            for topic, recorded_ns, data in kind(plain, losses).messages():
                if topic not in numbers:
                    numbers[topic] = len(numbers) + 1
                    writer.declare(numbers[topic], topic)
                try:
                    writer.write(numbers[topic], recorded_ns, _plain(data))
                    count += 1
                except (zstandard.ZstdError, struct.error) as error:
                    losses.append(f'{packed}: a message of {topic.name} is damaged ({error})')
            if plain != packed:
                plain.unlink()
        writer.flush()
    finish_bag(file)
    return count
