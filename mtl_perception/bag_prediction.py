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
"""Predictions for every picture of a part of a bag, written beside what it holds."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

from mtl_perception.bag_records import RecordWriter, Topic
from mtl_perception.bags import (
    bag_message_builder, bag_types, definition_of, open_bag, read_messages)
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.config import EngineConfig, InferenceSettings
from mtl_perception.engine import build_engine
from mtl_perception.errors import ConfigError, ImageError, PerceptionError, SourceError
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
from mtl_perception.messages import MESSAGE_TYPES, MessageBuilder, OUTPUT_TYPES
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import (
    Connection, MessageDefinitionFormat, Qos, QosDurability, QosHistory, QosLiveliness,
    QosReliability, QosTime)

HEADS = ('detections', 'segmentation', 'classification')
# What a node publishes, by the end of its topic's name.
ANSWER_TYPES = {**OUTPUT_TYPES,
                **{f'{head}/label_info': MESSAGE_TYPES['LabelInfo'] for head in HEADS}}
ENCODINGS = {MessageDefinitionFormat.MSG: 'ros2msg', MessageDefinitionFormat.IDL: 'ros2idl'}
FOREVER = QosTime(9223372036, 854775807)


class UnfinishedError(PerceptionError):
    """The run has stopped; the same command goes on from there."""


@dataclass
class BagCount:
    """
    What was done.

    :param frames: pictures that were answered
    :param objects: boxes in them
    :param skipped: pictures that cannot be decoded
    :param problem: with the last of those
    :param encodings: of each camera's pictures
    """

    frames: int = 0
    objects: int = 0
    skipped: int = 0
    problem: str = ''
    encodings: Dict[str, List[str]] = field(default_factory=dict)

    def add(self, other: 'BagCount') -> None:
        """Count in what was done elsewhere."""
        self.frames += other.frames
        self.objects += other.objects
        self.skipped += other.skipped
        self.problem = other.problem or self.problem
        for camera, encodings in other.encodings.items():
            for encoding in encodings:
                self.see(camera, encoding)

    def see(self, camera: str, encoding: str) -> None:
        """Take note of a picture's encoding."""
        known = self.encodings.setdefault(camera, [])
        if encoding not in known:
            known.append(encoding)


@dataclass(frozen=True)
class BagJob:
    """
    All that a worker needs to do any part of a bag.

    :param source: a bag that can be read from end to end
    :param slices: of time, one a part
    :param topics: of the new bag; a topic's number in it is its position, from 1
    :param originals: numbers of the topics that are copied, by their connection's id in ``source``
    :param cameras: from image topics to the names that their predictions go under
    :param checkpoint: folder of the weights
    :param engine: of each worker
    :param settings: of the engine
    :param class_id_format: ``name`` or ``index``
    """

    source: Path
    slices: Tuple[Tuple[int, int], ...]
    topics: Tuple[Topic, ...]
    originals: Mapping[int, int]
    cameras: Mapping[str, str]
    checkpoint: Path
    engine: EngineConfig
    settings: InferenceSettings
    class_id_format: str


def _qos(latched: bool) -> Qos:
    return Qos(QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE,
               QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE, FOREVER,
               FOREVER, QosLiveliness.AUTOMATIC, FOREVER, False)


def answer_topics(names: Sequence[str]) -> List[Topic]:
    """
    Return the topics of the nodes of these names, as they would offer them.

    :param names: such as ``/perception``
    """
    types = bag_types()
    return [Topic(f'{name}/{end}', msgtype, *definition_of(types, msgtype),
                  types.hash_rihs01(msgtype), (_qos(end.endswith('label_info')),))
            for name in names for end, msgtype in ANSWER_TYPES.items()]


def is_cdr(connection: Connection) -> bool:
    """Tell whether messages are as ROS 2 writes them; a bag of others is no rosbag2."""
    return connection.ext.serialization_format == 'cdr'


def original_topics(reader: AnyReader, connections: Sequence[Connection]) -> List[Topic]:
    """
    Return what to copy as it is declared, with the definitions of types that lack theirs.

    :param connections: of the reader
    :raises SourceError: if types that we write are others in the bag
    """
    types, ours = reader.typestore, bag_types()
    topics = []
    for connection in connections:
        name, written = connection.msgtype, connection.msgdef
        known = name in types.fielddefs
        if name in ANSWER_TYPES.values() and types.hash_rihs01(name) != ours.hash_rihs01(name):
            raise SourceError(f'{reader.paths[0]}: expected the {name} of vision_msgs 4, got '
                              'another of that name; take its topics out of the bag first, or '
                              'leave all originals out with --predictions-only')
        definition = (ENCODINGS[written.format], written.data) if written.format in ENCODINGS \
            else definition_of(types, name)
        topics.append(Topic(connection.topic, name, *definition,
                            types.hash_rihs01(name) if known else connection.digest,
                            tuple(connection.ext.offered_qos_profiles)))
    return topics


def check_names(reader: AnyReader, names: Sequence[str]) -> None:
    """
    Make sure that predictions take no name that the bag has already.

    :raises ConfigError: if they do
    """
    outputs = {f'{name}/{end}' for name in names for end in ANSWER_TYPES}
    taken = sorted(outputs & {c.topic for c in reader.connections})
    if taken:
        raise ConfigError(f'{reader.paths[0]}: expected no predictions of that name, got '
                          f'{", ".join(taken)}; choose another node name')


def _labels(builder: MessageBuilder, start_ns: int, threshold: float
            ) -> Iterator[Tuple[str, bytes]]:
    """Yield what a node says about its classes as it starts."""
    stamp = builder.types.Header(
        stamp=bag_types().types['builtin_interfaces/msg/Time'](*divmod(start_ns, 10**9)),
        frame_id='')
    messages = (builder.detection_labels(stamp, threshold), builder.segmentation_labels(stamp),
                builder.classification_labels(stamp))
    for head, message in zip(HEADS, messages):
        end = f'{head}/label_info'
        yield end, bag_types().serialize_cdr(message, ANSWER_TYPES[end])


class PartPredictor:
    """
    Looks at the pictures of parts of a bag; not for two threads at once.

    :raises PerceptionError: if bag, weights or engine cannot be had
    """

    def __init__(self, job: BagJob):
        """Open the bag and load the network."""
        self._job = job
        checkpoint = load_checkpoint(job.checkpoint)
        self._builder = bag_message_builder(checkpoint.card, job.class_id_format)
        self._engine = build_engine(checkpoint, job.engine)
        self._numbers = {topic.name: number for number, topic in enumerate(job.topics, 1)}
        self._opened = ExitStack()
        self._reader = self._opened.enter_context(open_bag(job.source))
        self._connections = [c for c in self._reader.connections
                             if c.id in job.originals or c.topic in job.cameras]

    def close(self) -> None:
        """Close the bag."""
        self._opened.close()

    def predict(self, part: int, on_frame: Callable[[], None]) -> Tuple[bytes, BagCount]:
        """
        Return the records of a part of the new bag, and what was done for it.

        Predictions have their picture's header and time of recording, and follow it.

        :param part: its number
        :param on_frame: called after each picture
        :raises SourceError: if the bag is damaged
        """
        buffer, count = BytesIO(), BagCount()
        writer = RecordWriter(buffer)
        start_ns, stop_ns = self._job.slices[part]
        if part == 0:
            for name in self._job.cameras.values():
                self._write(writer, name, start_ns, _labels(
                    self._builder, start_ns, self._job.settings.score_threshold))
        # Files of one bag may overlap in time.
        for connection, recorded_ns, data in sorted(
                read_messages(self._reader, self._connections, start_ns, stop_ns),
                key=itemgetter(1)):
            if connection.id in self._job.originals:
                writer.write(self._job.originals[connection.id], recorded_ns, data)
            if connection.topic in self._job.cameras:
                self._write(writer, self._job.cameras[connection.topic], recorded_ns,
                            self._answers(connection, data, count))
                on_frame()
        writer.flush()
        return buffer.getvalue(), count

    def _write(self, writer: RecordWriter, name: str, recorded_ns: int,
               messages: Iterator[Tuple[str, bytes]]) -> None:
        for end, message in messages:
            writer.write(self._numbers[f'{name}/{end}'], recorded_ns, message)

    def _answers(self, connection: Connection, data: bytes, count: BagCount
                 ) -> Iterator[Tuple[str, bytes]]:
        try:
            message = self._reader.deserialize(data, connection.msgtype)
            count.see(connection.topic, getattr(message, 'encoding', None)
                      or getattr(message, 'format', ''))
            stamp = message.header.stamp
            frame = Frame(decode(message), stamp.sec * 10**9 + stamp.nanosec,
                          message.header.frame_id)
        except (ImageError, AnyReaderError) as error:
            count.skipped += 1
            count.problem = f'{connection.topic}: {error}'
            return
        prediction = self._engine.infer(frame, self._job.settings)
        count.frames += 1
        count.objects += len(prediction.detections or ())
        yield from self._builder.serialized_answers(message.header, prediction,
                                                    bag_types().serialize_cdr)
