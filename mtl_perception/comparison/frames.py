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
"""The frames to compare on: of a bag, of a labelled data set, or pictures and videos."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from mtl_perception.bag_survey import find_cameras
from mtl_perception.bags import open_bag, read_messages
from mtl_perception.card import Card
from mtl_perception.comparison.recording import Recording
from mtl_perception.data.named_frames import NamedFrames
from mtl_perception.data.sample import Sample
from mtl_perception.data.sources import BAG_SUFFIXES
from mtl_perception.errors import ImageError, PerceptionError, SourceError
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
from mtl_perception.messages import read_prediction
from mtl_perception.output_names import output_names
from mtl_perception.prediction import Prediction
from rosbags.highlevel import AnyReaderError

PENDING = 100
"""Pictures and predictions that wait for each other, at most."""


@dataclass(frozen=True, eq=False)
class Shot:
    """
    One frame to compare on.

    :param name: of a picture; empty where frames are told apart by number and time
    :param frame: what both sides look at
    :param sample: its labels, where the source has such
    :param recorded: what a bag holds about it
    :param recorded_after_s: from the picture's recording to that of the last answer
    """

    name: str
    frame: Frame
    sample: Optional[Sample] = None
    recorded: Optional[Prediction] = None
    recorded_after_s: float = 0.0


@dataclass
class Frames:
    """
    A source of frames.

    :param title: what it is, for people
    :param shots: its frames, to be read once
    :param total: how many there are; None if nobody knows before they are read
    :param problems: what could not be read; grows while frames are read
    :param split: name, of a data set with labels
    """

    title: str
    shots: Iterable[Shot]
    total: Optional[int] = None
    problems: List[str] = field(default_factory=list)
    split: str = ''


def is_bag(path: Path) -> bool:
    """Tell whether there is a rosbag2."""
    return path.suffix.lower() in BAG_SUFFIXES or (path / 'metadata.yaml').is_file()


def is_dataset(path: Path) -> bool:
    """Tell whether there is a data set: a folder in VOC layout or a COCO JSON."""
    return (path / 'ImageSets').is_dir() or path.suffix.lower() == '.json'


def choose_camera(path: Path, topic: str, node: str) -> Tuple[str, str]:
    """
    Return the image topic to compare on, and the full name of the node that looked at it.

    :param topic: wanted, or empty where the bag has one camera
    :param node: name; of several cameras' nodes, that within the camera's namespace
    :raises SourceError: if there is no bag, or it has no such topic or several
    """
    with open_bag(path) as reader:
        chosen = find_cameras(reader, [topic] if topic else [])
        cameras = find_cameras(reader)
    if len(chosen) > 1:
        raise SourceError(f'{path}: expected one camera, got {", ".join(chosen)}; choose one '
                          'with --topic')
    if node.startswith('/'):
        return chosen[0], node
    return chosen[0], output_names(cameras, node).get(chosen[0], f'/{node}')


@dataclass
class _Waiting:
    """A picture and what was said about it so far."""

    picture: Any = None
    picture_ns: int = 0
    parts: Dict[str, Any] = field(default_factory=dict)
    parts_ns: int = 0


def _shot(waiting: _Waiting, card: Optional[Card], problems: List[str]) -> Iterator[Shot]:
    """Yield the one frame, or none and a problem."""
    try:
        stamp = waiting.picture.header.stamp
        frame = Frame(decode(waiting.picture),
                      stamp.sec * 10**9 + stamp.nanosec or waiting.picture_ns,
                      waiting.picture.header.frame_id)
        recorded = read_prediction(card, **waiting.parts) if card else None
        if recorded and recorded.mask is not None \
                and recorded.mask.shape != frame.image.shape[:2]:
            raise ValueError(f'a mask of {recorded.mask.shape} for a picture of '
                             f'{frame.image.shape[:2]}')
    except (ImageError, ValueError, LookupError) as error:
        problems.append(' '.join(str(error).split()))
        return
    yield Shot('', frame, None, recorded, (waiting.parts_ns - waiting.picture_ns) / 1e9)


def _bag_shots(path: Path, camera: str, recording: Optional[Recording], card: Optional[Card],
               problems: List[str]) -> Iterator[Shot]:
    topics = recording.topics if recording else {}
    waiting: Dict[int, _Waiting] = {}
    with open_bag(path) as reader:
        wanted = [c for c in reader.connections if c.topic == camera or c.topic in topics]
        try:
            for connection, recorded_ns, data in read_messages(reader, wanted):
                try:
                    message = reader.deserialize(data, connection.msgtype)
                except AnyReaderError as error:
                    problems.append(f'{connection.topic}: {" ".join(str(error).split())}')
                    continue
                stamp = message.header.stamp
                stamp_ns = stamp.sec * 10**9 + stamp.nanosec
                entry = waiting.setdefault(stamp_ns, _Waiting())
                if connection.topic == camera:
                    entry.picture, entry.picture_ns = message, recorded_ns
                else:
                    entry.parts[topics[connection.topic]] = message
                    entry.parts_ns = recorded_ns
                if entry.picture is not None and len(entry.parts) == len(topics):
                    yield from _shot(waiting.pop(stamp_ns), card, problems)
                elif len(waiting) > PENDING:
                    oldest = waiting.pop(next(iter(waiting)))
                    if oldest.picture is not None and oldest.parts:
                        yield from _shot(oldest, card, problems)
        except SourceError as error:
            problems.append(str(error))
    # A node whose outputs were switched off in between answered these with some parts only.
    for entry in waiting.values():
        if entry.picture is not None and entry.parts:
            yield from _shot(entry, card, problems)


def open_bag_frames(path: Path, camera: str, recording: Optional[Recording] = None,
                    card: Optional[Card] = None) -> Frames:
    """
    Return the pictures of a bag, with what a node said about them if that is asked for.

    A picture that no answer was recorded for is left out then: a live node looks at the newest
    picture only. What cannot be read is left out too, and said.

    :param camera: image topic
    :param recording: of the node
    :param card: with the names of the recording
    """
    problems: List[str] = []
    with open_bag(path) as reader:
        total = max(c.msgcount for c in reader.connections
                    if c.topic in (recording.topics if recording else (camera,)))
    return Frames(f'{path.name}, {camera}', _bag_shots(path, camera, recording, card, problems),
                  total, problems)


def _dataset_shots(samples, problems: List[str]) -> Iterator[Shot]:
    for index in range(len(samples)):
        try:
            sample = samples[index]
        except PerceptionError as error:
            problems.append(str(error))
            continue
        yield Shot(sample.name, Frame(sample.image), sample)


def open_dataset_frames(path: Path, split: str, images: Optional[Path], card: Card) -> Frames:
    """
    Return the labelled pictures of a split.

    :param path: of a folder in VOC layout, or a COCO JSON
    :param split: name, of a folder in VOC layout
    :param images: folder of a COCO JSON's pictures; its own if None
    :param card: with the names of both sides
    :raises DatasetError: if there is no such data set or split
    """
    problems: List[str] = []
    if path.is_dir():
        from mtl_perception.data.voc import VocDataset
        samples = VocDataset(path, split, card.classes)
        title = f'{path.name}, {split}'
    else:
        from mtl_perception.data.coco import CocoDataset
        samples = CocoDataset(path, images or path.parent, card.classes)
        title, split = path.name, path.stem
    return Frames(title, _dataset_shots(samples, problems), len(samples), problems, split)


def open_plain_frames(path: Path) -> Frames:
    """
    Return the frames of a picture, a folder of pictures and videos, or a video.

    :raises SourceError: if there are none
    """
    frames = NamedFrames([path])
    return Frames(path.name, (Shot(item.name, item.frame) for item in frames), frames.total,
                  frames.problems)
