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
"""Answers as the bytes of their vision_msgs message, with no object for each box and score."""

import struct
from typing import Any, Iterable, Sequence, Tuple

from mtl_perception.prediction import Detections

# Plain CDR, little-endian (OMG DDSI-RTPS 2.5, 10.2): numbers are aligned to their size, counted
# from what follows these four bytes.
ENCAPSULATION = b'\x00\x01\x00\x00'
STAMP = struct.Struct('<iI')
COUNT = struct.Struct('<I')
SCORE = struct.Struct('<d')
NO_POSE = struct.pack('<43d', 0, 0, 0, 0, 0, 0, 1, *36 * [0])
# A hypothesis' score and pose; the centre's x, y, theta; the sizes; an empty id's length and end.
BOX = struct.Struct(f'<d{len(NO_POSE)}s5dIB')
# Between two boxes.
BOX_END = bytes(-BOX.size % 8)


def _string(text: str) -> bytes:
    data = text.encode() + b'\0'
    return COUNT.pack(len(data)) + data


def _aligned(data: bytes, size: int, before: int = 0) -> bytes:
    return data + bytes(-(before + len(data)) % size)


def _header(header: Any) -> bytes:
    stamp = header.stamp
    return _aligned(STAMP.pack(stamp.sec, stamp.nanosec) + _string(header.frame_id), 4)


def serialize_classification(header: Any, scores: Iterable[Tuple[str, float]]) -> bytes:
    """
    Return the bytes of a ``vision_msgs/Classification``.

    :param header: with a ``stamp`` and a ``frame_id``
    :param scores: class id as sent, and score
    """
    results = list(scores)
    data = _header(header) + COUNT.pack(len(results))
    for class_id, score in results:
        data = _aligned(data + _string(class_id), 8) + SCORE.pack(score)
    return ENCAPSULATION + data


def serialize_detections(header: Any, detections: Detections, class_ids: Sequence[str]) -> bytes:
    """
    Return the bytes of a ``vision_msgs/Detection2DArray``.

    A box takes half a microsecond; rclpy takes 20 to write one that has been made already.

    :param header: with a ``stamp`` and a ``frame_id``, for the array and each box
    :param detections: in source pixels
    :param class_ids: as sent, of the classes 1, 2, ...
    """
    head = _header(header)
    start = head + COUNT.pack(len(detections))
    ids = detections.class_ids.tolist()
    # What comes before a box's score, by class.
    names = {index: head + COUNT.pack(1) + _string(class_ids[index - 1]) for index in set(ids)}
    prefixes = {index: _aligned(name, 8) for index, name in names.items()}
    boxes = [prefixes[index] + BOX.pack(score, NO_POSE, (left + right) / 2, (top + bottom) / 2,
                                        0.0, right - left, bottom - top, 1, 0)
             for (left, top, right, bottom), score, index in zip(
                 detections.boxes.tolist(), detections.scores.tolist(), ids)]
    if boxes:  # the first begins where the count ends, the others at a multiple of 8
        boxes[0] = _aligned(names[ids[0]], 8, len(start)) + boxes[0][-BOX.size:]
    return ENCAPSULATION + start + BOX_END.join(boxes)
