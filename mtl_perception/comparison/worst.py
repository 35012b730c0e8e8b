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
"""The frames with the largest disagreement, drawn while they pass; the others are let go."""

from dataclasses import dataclass
from typing import Dict, List, Sequence

import cv2
from mtl_perception.card import Card
from mtl_perception.comparison.difference import Difference
from mtl_perception.frame import Frame
from mtl_perception.overlay import draw_overlay
from mtl_perception.prediction import Prediction
import numpy as np

MAX_WIDTH = 960
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Picture:
    """
    A drawn frame.

    :param jpeg: its file
    :param width: pixels
    :param height: pixels
    """

    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Shown:
    """
    A frame that the page shows.

    :param index: of the frame
    :param score: of its disagreement
    :param pictures: one a side, then the labels if there are such
    """

    index: int
    score: float
    pictures: Sequence[Picture]


class Worst:
    """
    Keeps the frames with the largest disagreement, of each stretch of time one.

    :param count: how many, at least 1
    :param apart_ns: length of a stretch; 0 keeps neighbours too
    """

    def __init__(self, count: int, apart_ns: int):
        """Start with none."""
        self._count = count
        self._apart_ns = apart_ns
        self._kept: Dict[object, Shown] = {}

    def _stretch(self, index: int, stamp_ns: int) -> object:
        # Frames without a time are pictures of different things.
        return ('time', stamp_ns // self._apart_ns) if stamp_ns and self._apart_ns else index

    def wants(self, index: int, stamp_ns: int, score: float) -> bool:
        """Tell whether a frame is to be kept for now, so that others need not be drawn."""
        rival = self._kept.get(self._stretch(index, stamp_ns))
        if not score > 0.0:
            return False
        if rival is None and len(self._kept) == self._count:
            rival = min(self._kept.values(), key=lambda shown: shown.score)
        return rival is None or score > rival.score

    def keep(self, stamp_ns: int, shown: Shown) -> None:
        """Keep a frame that is wanted; the least of the others goes if there are too many."""
        self._kept[self._stretch(shown.index, stamp_ns)] = shown
        if len(self._kept) > self._count:
            del self._kept[min(self._kept, key=lambda stretch: self._kept[stretch].score)]

    def ranked(self) -> List[Shown]:
        """Return what was kept, worst first."""
        return sorted(self._kept.values(), key=lambda shown: -shown.score)


def _marked(frame: Frame, boxes: np.ndarray) -> Frame:
    """Return the frame with white and black lines around boxes, where an overlay leaves room."""
    picture = frame.image.copy()
    line = max(1, round(min(frame.height, frame.width) / 270))
    for grow, color in ((3, (0, 0, 0)), (2, (255, 255, 255)), (1, (255, 255, 255))):
        for left, top, right, bottom in np.rint(boxes).astype(int).tolist():
            corner = max(0, left - grow * line), max(0, top - grow * line)
            opposite = (min(frame.width, right + grow * line) - 1,
                        min(frame.height, bottom + grow * line) - 1)
            cv2.rectangle(picture, corner, opposite, color, line)
    return Frame(picture)


def _encode(picture: np.ndarray) -> Picture:
    height, width = picture.shape[:2]
    if width > MAX_WIDTH:
        height, width = max(1, round(height * MAX_WIDTH / width)), MAX_WIDTH
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return Picture(jpeg.tobytes(), width, height)


def draw_sides(frame: Frame, sides: Sequence[Prediction], difference: Difference, card: Card
               ) -> List[Picture]:
    """
    Return the frame as each side sees it, with the boxes that the other side lacks marked.

    :param sides: in the common numbering
    :param card: with the names of both sides
    """
    pictures = []
    for prediction, lone in zip(sides, difference.lone):
        background = _marked(frame, prediction.detections.boxes[lone]) if len(lone) else frame
        pictures.append(_encode(draw_overlay(background, prediction, card)))
    return pictures


def draw_labels(frame: Frame, labels: Prediction, card: Card) -> Picture:
    """Return the frame with its labels."""
    return _encode(draw_overlay(frame, labels, card))
