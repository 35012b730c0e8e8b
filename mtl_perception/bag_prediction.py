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
"""Predictions for every picture of a bag, written beside what it holds."""

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, Tuple

from mtl_perception.bags import bag_types, IMAGE_TYPES, read_messages
from mtl_perception.config import InferenceSettings
from mtl_perception.engine import Engine
from mtl_perception.errors import ConfigError, ImageError, SourceError
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
from mtl_perception.messages import MessageBuilder, OUTPUT_TYPES
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Writer

COMPRESSED = '/compressed'


@dataclass
class BagCount:
    """
    What was done so far.

    :param frames: pictures that were answered
    :param objects: boxes in them
    :param skipped: pictures that cannot be decoded
    :param problem: with the last of those
    :param left_out: topics that could not be copied, the bag does not say what their type is
    """

    frames: int = 0
    objects: int = 0
    skipped: int = 0
    problem: str = ''
    left_out: List[str] = field(default_factory=list)


def find_cameras(reader: AnyReader, wanted: Sequence[str] = ()) -> List[str]:
    """
    Return the image topics to look at.

    A compressed topic beside the raw one that it was made from is left out unless wanted, and so
    are the pictures of a perception node, which has ``detections`` beside them.

    :param wanted: these and no others; all if empty
    :raises SourceError: if there are none, or not those wanted
    """
    topics = sorted({c.topic for c in reader.connections if c.msgtype in IMAGE_TYPES})
    nodes = {c.topic.rpartition('/')[0] for c in reader.connections
             if c.msgtype == OUTPUT_TYPES['detections']}
    chosen = list(wanted) or [
        topic for topic in topics if topic.rpartition('/')[0] not in nodes
        and not (topic.endswith(COMPRESSED) and topic[:-len(COMPRESSED)] in topics)]
    if not chosen or not set(chosen) <= set(topics):
        others = topics or sorted({f'{c.topic} ({c.msgtype})' for c in reader.connections})
        raise SourceError(f'{reader.paths[0]}: expected {" and ".join(wanted) or "a camera"} '
                          f'of type Image or CompressedImage, got [{", ".join(others)}]')
    return chosen


def output_names(cameras: Sequence[str], node: str) -> Dict[str, str]:
    """
    Return the name under which each camera's predictions go, as live nodes have them.

    One camera's are ``/perception``; of several, ``/front/image_raw``'s are
    ``/front/perception``, or ``/front/image_raw/perception`` where that is not clear.

    :param node: name of the node
    """
    if len(cameras) == 1:
        return {cameras[0]: f'/{node}'}
    spaces = [camera.removesuffix(COMPRESSED).rpartition('/')[0] for camera in cameras]
    if '' in spaces or len(set(spaces)) < len(spaces):
        spaces = list(cameras)
    return {camera: f'{space}/{node}' for camera, space in zip(cameras, spaces)}


class _Originals:
    """Copies messages as they are; knows which cannot be."""

    def __init__(self, reader: AnyReader, writer: Writer):
        self.left_out: List[str] = []
        self._reader = reader
        self._writer = writer
        self._copies: Dict[str, Connection] = {}
        ours = bag_types()
        for name in {c.msgtype for c in reader.connections} & set(OUTPUT_TYPES.values()):
            if reader.typestore.hash_rihs01(name) != ours.hash_rihs01(name):
                raise SourceError(f'{reader.paths[0]}: expected the {name} of vision_msgs 4, got '
                                  'another of that name; take its topics out of the bag first')

    def write(self, connection: Connection, recorded_ns: int, data: bytes) -> None:
        key = repr((connection.topic, connection.msgtype, connection.ext))
        if key not in self._copies:
            self._copies[key] = self._add(connection)
        if self._copies[key] is not None:
            self._writer.write(self._copies[key], recorded_ns, data)

    def _add(self, connection: Connection):
        types, name, definition = self._reader.typestore, connection.msgtype, connection.msgdef
        if name not in types.fielddefs:
            self.left_out.append(f'{connection.topic} ({name})')
            return None
        original = definition.data if definition.format is MessageDefinitionFormat.MSG else None
        return self._writer.add_connection(
            connection.topic, name, typestore=types, msgdef=original,
            rihs01=types.hash_rihs01(name),
            serialization_format=connection.ext.serialization_format,
            offered_qos_profiles=connection.ext.offered_qos_profiles)


class _Answers:
    """Writes the predictions for one camera."""

    def __init__(self, writer: Writer, name: str):
        self._writer = writer
        self._connections = {
            output: writer.add_connection(f'{name}/{output}', message_type, typestore=bag_types())
            for output, message_type in OUTPUT_TYPES.items()}

    def write(self, recorded_ns: int, answers: Iterable[Tuple[str, Any]]) -> None:
        for output, message in answers:
            self._writer.write(self._connections[output], recorded_ns,
                               bag_types().serialize_cdr(message, OUTPUT_TYPES[output]))


def _check_names(reader: AnyReader, names: Iterable[str]) -> None:
    outputs = {f'{name}/{output}' for name in names for output in OUTPUT_TYPES}
    taken = sorted(outputs & {c.topic for c in reader.connections})
    if taken:
        raise ConfigError(f'{reader.paths[0]}: expected no predictions of that name, got '
                          f'{", ".join(taken)}; choose another node name')


def predict_bag(reader: AnyReader, writer: Writer, cameras: Mapping[str, str], engine: Engine,
                builder: MessageBuilder, settings: InferenceSettings = InferenceSettings(),
                on_frame: Callable[[BagCount], None] = lambda count: None) -> BagCount:
    """
    Copy a bag and write what the network sees in each picture right after it.

    Predictions have their picture's header and time of recording.

    :param cameras: from image topics to the names that their predictions go under
    :param builder: of rosbags' messages
    :param on_frame: called after each picture
    :return: what was done
    :raises ConfigError: if the bag has topics of the predictions' names
    :raises SourceError: if the bag is damaged, or none of its pictures can be decoded
    """
    _check_names(reader, cameras.values())
    originals = _Originals(reader, writer)
    answers = {topic: _Answers(writer, name) for topic, name in cameras.items()}
    count = BagCount(left_out=originals.left_out)
    for connection, recorded_ns, data in read_messages(reader):
        originals.write(connection, recorded_ns, data)
        if connection.topic not in cameras:
            continue
        try:
            message = reader.deserialize(data, connection.msgtype)
            stamp = message.header.stamp
            frame = Frame(decode(message), stamp.sec * 10**9 + stamp.nanosec,
                          message.header.frame_id)
        except (ImageError, AnyReaderError) as error:
            count.skipped += 1
            count.problem = f'{connection.topic}: {error}'
        else:
            prediction = engine.infer(frame, settings)
            answers[connection.topic].write(
                recorded_ns, builder.answers(message.header, prediction))
            count.frames += 1
            count.objects += len(prediction.detections or ())
        on_frame(count)
    if not count.frames:
        raise SourceError(f'{reader.paths[0]}: expected pictures on {", ".join(cameras)}, got '
                          + (count.problem or 'none'))
    return count
