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
"""The predictions of a node that a bag holds beside its camera."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Tuple

from mtl_perception.bags import open_bag, read_messages
from mtl_perception.card import ClassNames
from mtl_perception.errors import SourceError
from mtl_perception.messages import OUTPUT_TYPES
from rosbags.highlevel import AnyReader

PARTS = ('detections', 'segmentation', 'classification_scores')
LABELS = 'label_info'
FIRST_ID = {'detections': 1, 'segmentation': 0}


@dataclass(frozen=True)
class Recording:
    """
    What a node left in a bag.

    :param node: full name
    :param topics: of the predictions, with the part of the prediction that each is
    :param classes: that the ids in the messages stand for
    :param notes: on what had to be assumed, for people
    """

    node: str
    topics: Mapping[str, str]
    classes: ClassNames
    notes: Tuple[str, ...]


@dataclass
class _Names:
    """The names that the messages say, by part."""

    said: Dict[str, Dict[str, None]] = field(default_factory=lambda: {part: {} for part in PARTS})
    listed: Dict[str, Mapping[int, str]] = field(default_factory=dict)

    def add(self, part: str, message: Any) -> None:
        """Take the names of a message of predictions."""
        if part == 'detections':
            hypotheses = [item.results[0].hypothesis for item in message.detections
                          if item.results]
        else:
            hypotheses = message.results
        self.said[part].update(dict.fromkeys(hypothesis.class_id for hypothesis in hypotheses
                                             if not hypothesis.class_id.isdecimal()))

    def of(self, part: str, assumed: Iterable[str]) -> Tuple[str, ...]:
        """Return the names by id: as listed, else as assumed; then what else was said."""
        listed, first = self.listed.get(part), FIRST_ID.get(part, 0)
        names = assumed if not listed else [
            listed.get(index, f'id {index}') for index in range(first, max(listed) + 1)]
        return tuple(dict.fromkeys([*names, *self.said[part]]))


def _find_node(reader: AnyReader, node: str) -> Mapping[str, str]:
    """Return the topics of a node's predictions with their parts."""
    wanted = {f'{node}/{part}': part for part in PARTS}
    topics = {c.topic: wanted[c.topic] for c in reader.connections
              if c.topic in wanted and c.msgtype == OUTPUT_TYPES[wanted[c.topic]] and c.msgcount}
    if not topics:
        others = sorted({c.topic.rpartition('/')[0] for c in reader.connections
                         if c.msgtype == OUTPUT_TYPES['detections'] and c.msgcount})
        raise SourceError(
            f'{reader.paths[0]}: expected predictions of {node}, got '
            + (f'those of {", ".join(others)}; name the node with --node-name' if others else
               'none; write some with predict_bag, or compare two weights on it'))
    return topics


def find_recording(path: Path, node: str, assumed: ClassNames, assumed_of: str) -> Recording:
    """
    Return what a node left in a bag, and the names of its classes.

    The messages name boxes and image classes themselves. The ids of a mask have names where the
    node's label_info was recorded; else they are assumed to be those of the other side.

    :param node: full name, such as ``/perception``
    :param assumed: names where the bag has none
    :param assumed_of: whose those are, for people
    :raises SourceError: if there is no bag, or it has no predictions of that node
    """
    names = _Names()
    with open_bag(path) as reader:
        topics = _find_node(reader, node)
        labels = {f'{node}/{part}/{LABELS}': part for part in FIRST_ID}
        small = [c for c in reader.connections
                 if c.topic in labels or topics.get(c.topic, 'segmentation') != 'segmentation']
        try:
            for connection, _, data in read_messages(reader, small) if small else ():
                part = topics.get(connection.topic)
                # All image classes are in each message.
                if part == 'classification_scores' and names.said[part]:
                    continue
                message = reader.deserialize(data, connection.msgtype)
                if part:
                    names.add(part, message)
                else:
                    names.listed[labels[connection.topic]] = {
                        item.class_id: item.class_name for item in message.class_map}
        except SourceError:
            pass  # the frames up to there are compared, and the reader of frames says so
    classes = ClassNames(names.of('detections', assumed.detection),
                         names.of('segmentation', assumed.segmentation),
                         names.of('classification_scores', assumed.classification))
    notes = []
    if 'segmentation' in topics.values() and 'segmentation' not in names.listed:
        notes.append(f'The bag does not say what the ids of the recorded masks mean; '
                     f'they are read as those of {assumed_of}.')
    return Recording(node, topics, classes, tuple(notes))
