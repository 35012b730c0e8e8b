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
"""What is in a bag: its cameras, how much there is, and where to cut it into parts."""

from collections import Counter
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from mtl_perception.bag_records import compress
from mtl_perception.bags import IMAGE_TYPES, read_messages
from mtl_perception.errors import ImageError, SourceError
from mtl_perception.image_codec import decode
from mtl_perception.messages import OUTPUT_TYPES
from mtl_perception.output_names import COMPRESSED
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection

# A part is read into memory, is what a killed run loses, and what a worker gets at a time.
PART_FRAMES = 16
PART_BYTES = 64 * 2**20
# A topic is a camera if one of this many pictures can be decoded.
FIRST_PICTURES = 5
SAMPLED = 50


@dataclass(frozen=True)
class Survey:
    """
    What one reading of a bag tells.

    :param slices: first nanosecond of each part and first after it, without gaps, by time
    :param frames: pictures of each camera
    :param packed_bytes: what the messages will take up compressed, an estimate
    :param unread: cameras whose first pictures cannot be decoded, and why
    """

    slices: Tuple[Tuple[int, int], ...]
    frames: Dict[str, int]
    packed_bytes: int
    unread: Dict[str, str]


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


def survey(reader: AnyReader, cameras: Sequence[str], connections: Sequence[Connection]
           ) -> Survey:
    """
    Read a bag once from end to end.

    :param cameras: image topics
    :param connections: to read
    :raises SourceError: if the bag is damaged
    """
    frames: Counter = Counter()
    tried: Counter = Counter()
    unread: Dict[str, str] = {}
    total = sampled = packed = part_frames = part_bytes = 0
    cuts: List[int] = []
    first, last = 2**63 - 1, 0
    for connection, recorded_ns, data in read_messages(reader, connections):
        topic, size = connection.topic, len(data)
        if (part_frames >= PART_FRAMES or part_bytes >= PART_BYTES) and recorded_ns > last:
            cuts.append(recorded_ns)
            part_frames = part_bytes = 0
        first, last = min(first, recorded_ns), max(last, recorded_ns)
        part_bytes += size
        total += size
        if sampled * SAMPLED <= total:
            sampled += size
            packed += len(compress(data))
        if topic in cameras:
            frames[topic] += 1
            part_frames += 1
            if tried[topic] < FIRST_PICTURES and (topic in unread or not tried[topic]):
                tried[topic] += 1
                unread[topic] = _problem(reader, connection, data)
                if not unread[topic]:
                    del unread[topic]
    edges = [first, *cuts, last + 1]
    return Survey(tuple(zip(edges, edges[1:])) if total else (), dict(frames),
                  packed * total // sampled if sampled else 0, unread)


def _problem(reader: AnyReader, connection: Connection, data: bytes) -> str:
    """Return why a picture cannot be decoded, empty if it can be."""
    try:
        decode(reader.deserialize(data, connection.msgtype))
        return ''
    except (ImageError, AnyReaderError) as error:
        return str(error)
