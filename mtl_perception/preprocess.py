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
"""The one place that resizes a picture for the network."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Tuple

import cv2
import numpy as np

# What the coarsest stride divides.
SIDE_UNIT = 32


@dataclass(frozen=True)
class LetterboxTransform:
    """
    How source pixels and network pixels belong together.

    The picture's top-left corner is the network input's; what is right of and below the content
    is border.

    :param source_height: rows of the source picture
    :param source_width: columns of the source picture
    :param content_height: rows of the scaled picture
    :param content_width: columns of the scaled picture
    """

    source_height: int
    source_width: int
    content_height: int
    content_width: int

    @property
    def scale(self) -> np.ndarray:
        """Return network pixels per source pixel for x, y, x, y, float32 ``[4]``."""
        x = self.content_width / self.source_width
        y = self.content_height / self.source_height
        return np.array([x, y, x, y], np.float32)

    def boxes_to_input(self, boxes: np.ndarray) -> np.ndarray:
        """Return ``boxes`` (``[N, 4]`` xyxy, source pixels) in network pixels."""
        return boxes.astype(np.float32) * self.scale

    def boxes_to_source(self, boxes: np.ndarray) -> np.ndarray:
        """Return ``boxes`` (``[N, 4]`` xyxy, network pixels) in source pixels, clipped to it."""
        limits = np.array([self.source_width, self.source_height] * 2, np.float32)
        return np.clip(boxes.astype(np.float32) / self.scale, 0.0, limits)


@lru_cache(maxsize=256)
def input_shape(height: int, width: int, source_height: int, source_width: int
                ) -> Tuple[int, int]:
    """
    Return the network picture's rows and columns in which a source picture is largest.

    A camera's 16:9 picture in a square one leaves 44% of the computing to the border; in one of
    its own proportions objects are 1.3 times as large for the same time.

    :param height: rows of the card's input, a multiple of 32
    :param width: columns of it
    :param source_height: rows of the source, at least 1
    :param source_width: columns of the source
    :return: multiples of 32, at most twice the card's, together of at most its area

    >>> input_shape(512, 512, 720, 1280), input_shape(512, 512, 512, 512)
    ((384, 672), (512, 512))
    """
    def scale(shape: Tuple[int, int]) -> float:
        return min(shape[0] / source_height, shape[1] / source_width)

    rows = range(SIDE_UNIT, 2 * height + 1, SIDE_UNIT)
    best = scale(max(((row, min(2 * width, height * width // row // SIDE_UNIT * SIDE_UNIT))
                      for row in rows), key=scale))
    return tuple(max(1, -(-round(side * best) // SIDE_UNIT)) * SIDE_UNIT
                 for side in (source_height, source_width))


@dataclass(frozen=True)
class Letterbox:
    """
    Scale a picture to fit, keep its aspect ratio, fill the rest with grey.

    :param height: rows of the result
    :param width: columns of the result
    :param pad_value: grey of the border, 0 to 255

    >>> image, transform = Letterbox(512, 512)(np.zeros((480, 640, 3), np.uint8))
    >>> image.shape, transform.content_height
    ((512, 512, 3), 384)
    """

    height: int
    width: int
    pad_value: int = 114

    def transform_for(self, source_height: int, source_width: int) -> LetterboxTransform:
        """Return the geometry for a source picture of that size."""
        scale = min(self.height / source_height, self.width / source_width)
        return LetterboxTransform(
            source_height, source_width,
            max(1, min(self.height, round(source_height * scale))),
            max(1, min(self.width, round(source_width * scale))))

    def __call__(self, image: np.ndarray) -> Tuple[np.ndarray, LetterboxTransform]:
        """
        Return the network's picture and its geometry.

        :param image: uint8 ``[H, W, 3]``, BGR
        :return: uint8 ``[height, width, 3]``, RGB, contiguous; and the transform
        """
        kept = KeptLetterbox(self, *image.shape[:2])
        return kept(image), kept.transform


class KeptLetterbox:
    """
    A letterbox for pictures of one size that writes each result over the one before.

    The memory of a result is taken and its border drawn once.

    :param letterbox: what it does
    :param source_height: rows of the pictures
    :param source_width: columns of the pictures
    """

    def __init__(self, letterbox: Letterbox, source_height: int, source_width: int):
        """Take the memory."""
        self.transform = transform = letterbox.transform_for(source_height, source_width)
        height, width = transform.content_height, transform.content_width
        self._result = np.full((letterbox.height, letterbox.width, 3), letterbox.pad_value,
                               np.uint8)
        self._content = self._result[:height, :width]
        self._scaled = None if (height, width) == (source_height, source_width) else \
            np.empty((height, width, 3), np.uint8)
        # Averaging keeps small objects that a bilinear sample every second pixel would miss.
        shrinks = source_width >= 2 * width or source_height >= 2 * height
        self._interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """
        Return the network's picture, which is this one until the next call.

        :param image: uint8 ``[source_height, source_width, 3]``, BGR
        :return: uint8 ``[height, width, 3]``, RGB, contiguous
        """
        if self._scaled is not None:
            image = cv2.resize(image, self._scaled.shape[1::-1], dst=self._scaled,
                               interpolation=self._interpolation)
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=self._content)
        return self._result
