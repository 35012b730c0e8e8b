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
"""Rosbag2 with no ROS: the types of predictions, and new bags that are whole or not there."""

from contextlib import contextmanager
from functools import lru_cache
import os
from pathlib import Path
import shutil
import struct
import sys
from typing import Collection, Iterator, List, Optional, Tuple, Union

import apsw
from mtl_perception.bag_records import METADATA_VERSION
from mtl_perception.card import Card
from mtl_perception.errors import ConfigError, SourceError
from mtl_perception.messages import message_namespace, MessageBuilder
import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.rosbag2 import (
    CompressionFormat, CompressionMode, ReaderError, StoragePlugin, Writer)
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore
if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

# What rosbags raises on damage: its own, that of the libraries below it (lz4 has none of its own),
# and what lengths and names that are nonsense bring about.
READ_ERRORS = (AnyReaderError, ReaderError, ZstdError, apsw.Error, OSError, EOFError,
               struct.error, ValueError, LookupError, OverflowError, MemoryError, RuntimeError,
               TypeError, AssertionError)
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


class DamagedBagError(SourceError):
    """A bag's files are there and cannot be read throughout."""


def _definition_folders() -> List[Path]:
    """Return where vision_msgs' .msg files may be: the source tree, then what is installed."""
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    return [Path(__file__).resolve().parent.parent / 'msgs' / 'vision_msgs' / 'msg',
            *(Path(prefix) / 'share' / 'vision_msgs' / 'msg' for prefix in prefixes if prefix)]


@lru_cache(maxsize=None)
def bag_types() -> Typestore:
    """
    Return the message types that a bag of predictions needs, vision_msgs among them.

    :raises ConfigError: if the definitions of vision_msgs are nowhere
    """
    folders = _definition_folders()
    files = next((files for folder in folders if (files := sorted(folder.glob('*.msg')))), None)
    if files is None:
        raise ConfigError('expected the definitions of vision_msgs in '
                          f'{" or ".join(map(str, folders))}, got none; run `make setup`, or '
                          'source a ROS with ros-DISTRO-vision-msgs')
    # The messages that we write are the same in Humble and all after it.
    types = get_typestore(Stores.ROS2_HUMBLE)
    definitions = {}
    for file in files:
        definitions.update(get_types_from_msg(file.read_text(), f'vision_msgs/msg/{file.stem}'))
    types.register(definitions)
    return types


def definition_of(types: Typestore, msgtype: str) -> Tuple[str, str]:
    """Return a type's definition and what that is written in; both empty if it is not known."""
    if msgtype not in types.fielddefs:
        return '', ''
    return 'ros2msg', types.generate_msgdef(msgtype, ros_version=2)[0]


def bag_message_builder(card: Card, class_id_format: str = 'name') -> MessageBuilder:
    """
    Return the builder of messages that rosbags can write.

    :param class_id_format: ``name`` or ``index``
    """
    types = bag_types().types
    return MessageBuilder(message_namespace(types.__getitem__), np.ravel, card, class_id_format)


def _reason(error: Exception) -> str:
    return ' '.join(f'{type(error).__name__}: {error}'.split())


@contextmanager
def open_bag(path: Union[str, Path]) -> Iterator[AnyReader]:
    """
    Open a rosbag2 (a folder, or one .mcap or .db3 file) for reading.

    :raises SourceError: if it is none, a ``DamagedBagError`` if it may have been one
    """
    path = Path(path)
    if path.suffix == '.bag':
        raise SourceError(f'{path}: expected a rosbag2, got a ROS 1 bag; convert it first: '
                          f'rosbags-convert --src {path} --dst {path.with_suffix("")}')
    try:
        # Bags of Humble's sqlite3 carry no message definitions.
        reader = AnyReader([path], default_typestore=bag_types())
        reader.open()
    except FileNotFoundError:
        found = 'a folder without metadata.yaml' if path.is_dir() else 'nothing there'
        raise SourceError(f'{path}: expected a rosbag2, got {found}') from None
    except READ_ERRORS as error:
        raise DamagedBagError(f'{path}: expected a rosbag2, got: {_reason(error)}') from None
    try:
        yield reader
    finally:
        reader.close()


def read_messages(reader: AnyReader, connections: Collection[Connection] = (),
                  start_ns: Optional[int] = None, stop_ns: Optional[int] = None
                  ) -> Iterator[Tuple[Connection, int, bytes]]:
    """
    Yield connection, time of recording in nanoseconds and bytes of each message, by time.

    :param connections: to read, empty for all
    :param start_ns: first time to read
    :param stop_ns: first time not to read any more
    :raises DamagedBagError: if that is what the bag is
    """
    try:
        yield from reader.messages(connections, start_ns, stop_ns)
    except READ_ERRORS as error:
        raise DamagedBagError(f'{reader.paths[0]}: the bag is damaged: {_reason(error)}; '
                              'predict_bag reads what is whole') from None


def _check_unfinished(staging: Path, path: Path) -> None:
    """Make sure that ``staging`` holds what a killed run left, and nothing else."""
    own = (staging / path.name, staging / path.name / f'{path.name}.mcap')
    if not staging.is_dir() or any(item not in own for item in staging.rglob('*')):
        raise ConfigError(f'{staging}: expected nothing or an unfinished bag, got other files; '
                          'remove it or choose another output')


@contextmanager
def new_bag(path: Union[str, Path], compressed: bool = True) -> Iterator[Writer]:
    """
    Write a rosbag2 (mcap) that appears under ``path`` when it is whole, or never.

    Until then it grows in ``<path>.partial``, which goes when an exception ends the block.

    :raises ConfigError: if there is something at ``path`` or it cannot be written
    """
    path = Path(os.path.abspath(path))
    staging = path.with_name(f'{path.name}.partial')
    if path.exists():
        raise ConfigError(f'{path}: expected a new name for the bag, got one that exists; remove '
                          'it or choose another')
    if staging.exists():
        _check_unfinished(staging, path)
        shutil.rmtree(staging)
    writer = Writer(staging / path.name, version=METADATA_VERSION,
                    storage_plugin=StoragePlugin.MCAP)
    if compressed:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    try:
        with writer:
            yield writer
        writer.path.rename(path)
    except OSError as error:
        raise ConfigError(f'{path}: the bag cannot be written: {error.strerror}') from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
