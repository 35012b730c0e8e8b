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
"""
Random changes of a sample that keep its labels true.

Each is a small frozen callable ``(sample, rng) -> sample``. What a recipe applies is a tuple of
them, in order.
"""

from dataclasses import dataclass, replace
from typing import Callable, Sequence, Tuple

import cv2
from mtl_perception.data.sample import Sample
from mtl_perception.prediction import UNLABELLED
import numpy as np

Augmentation = Callable[[Sample, np.random.Generator], Sample]

MIN_VISIBLE = 0.25
"""An object of which a crop leaves a smaller part is neither asked for nor punished."""

MIN_SIDE = 4.0
"""The same for a box that a crop leaves with a side below this many pixels."""


def apply_all(augmentations: Sequence[Augmentation], sample: Sample,
              rng: np.random.Generator) -> Sample:
    """Return ``sample`` after every augmentation in turn."""
    for augmentation in augmentations:
        sample = augmentation(sample, rng)
    return sample


def flip(sample: Sample) -> Sample:
    """Return the sample mirrored left to right."""
    width = sample.image.shape[1]
    boxes = sample.boxes
    if boxes is not None:
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]],
                         axis=1)
    mask = sample.mask
    return replace(sample, image=np.ascontiguousarray(sample.image[:, ::-1]), boxes=boxes,
                   mask=None if mask is None else np.ascontiguousarray(mask[:, ::-1]))


def cut(sample: Sample, x: int, y: int, width: int, height: int, grey: int) -> Sample:
    """
    Return the window of the sample; what lies outside the picture is grey and unlabelled.

    Boxes are clipped to the window. Those that keep too little become difficult, those that keep
    nothing go.

    :param sample: any
    :param x, y: of the window's corner in the picture, may be negative
    :param width, height: of the window, at least 1
    :param grey: 0 to 255
    """
    rows, columns = sample.image.shape[:2]
    left, top = max(x, 0), max(y, 0)
    right, bottom = max(min(x + width, columns), left), max(min(y + height, rows), top)
    source = np.s_[top:bottom, left:right]
    target = np.s_[top - y:bottom - y, left - x:right - x]
    image = np.full((height, width, 3), grey, np.uint8)
    image[target] = sample.image[source]
    mask = None
    if sample.mask is not None:
        mask = np.full((height, width), UNLABELLED, np.uint8)
        mask[target] = sample.mask[source]
    if sample.boxes is None:
        return replace(sample, image=image, mask=mask)
    corner, limits = np.array([x, y] * 2), np.array([width, height] * 2)
    boxes = np.clip(sample.boxes - corner, 0, limits).astype(np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    whole = np.maximum((sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(axis=1), 1e-6)
    clipped = (boxes != (sample.boxes - corner).astype(np.float32)).any(axis=1)
    poor = (sides.prod(axis=1) / whole < MIN_VISIBLE) | (clipped & (sides.min(axis=1) < MIN_SIDE))
    kept = sides.min(axis=1, initial=np.inf) > 0
    return replace(sample, image=image, mask=mask, boxes=boxes[kept],
                   class_ids=sample.class_ids[kept],
                   difficult=(sample.difficult | poor)[kept])


@dataclass(frozen=True)
class HorizontalFlip:
    """
    Mirror left to right.

    :param probability: 0 to 1
    """

    probability: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps mirrored."""
        return flip(sample) if rng.random() < self.probability else sample


@dataclass(frozen=True)
class RandomView:
    """
    Look at a random window: another distance, another aim, another picture shape.

    :param zoom: range of the window's longer side over the picture's longer side; below 1
        objects grow, above 1 they shrink and a grey border appears
    :param aspects: width over height, one is drawn each time
    :param probability: of doing so at all
    :param grey: of the border, 0 to 255
    """

    zoom: Tuple[float, float] = (0.6, 1.5)
    aspects: Tuple[float, ...] = (1.0, 1.0, 4.0 / 3.0, 16.0 / 9.0)
    probability: float = 0.9
    grey: int = 114

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the window."""
        if rng.random() >= self.probability:
            return sample
        rows, columns = sample.image.shape[:2]
        aspect = self.aspects[rng.integers(len(self.aspects))]
        longer = max(rows, columns) * np.exp(rng.uniform(*np.log(self.zoom)))
        width = max(1, round(longer * min(1.0, aspect)))
        height = max(1, round(longer / max(1.0, aspect)))
        # Where the window is smaller it stays inside; where it is larger it holds the picture.
        x, y = (round(rng.uniform(min(0, spare), max(0, spare)))
                for spare in (columns - width, rows - height))
        return cut(sample, x, y, width, height, self.grey)


@dataclass(frozen=True)
class ColourJitter:
    """
    Change exposure and colour as another lamp or camera would.

    :param brightness: largest relative change of all values
    :param contrast: largest relative change of the distance from the mean
    :param saturation: largest relative change
    :param hue: largest turn, in degrees
    :param balance: largest relative change of one channel against the others
    :param probability: of doing so at all
    """

    brightness: float = 0.4
    contrast: float = 0.3
    saturation: float = 0.4
    hue: float = 8.0
    balance: float = 0.08
    probability: float = 0.8

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample in other light."""
        if rng.random() >= self.probability:
            return sample
        image = sample.image
        gain = 1.0 + rng.uniform(-self.brightness, self.brightness)
        contrast = 1.0 + rng.uniform(-self.contrast, self.contrast)
        balance = 1.0 + rng.uniform(-self.balance, self.balance, 3)
        saturation = 1.0 + rng.uniform(-self.saturation, self.saturation)
        turn = rng.uniform(-self.hue, self.hue) / 2.0   # OpenCV's hue counts half degrees
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        levels = np.arange(256.0)
        tables = np.stack([(levels + turn) % 180.0, np.clip(levels * saturation, 0, 255), levels],
                          axis=1).round().astype(np.uint8)
        image = cv2.cvtColor(cv2.LUT(hsv, tables[None]), cv2.COLOR_HSV2BGR)
        mean = float(sample.image.mean())
        tables = ((levels[:, None] - mean) * contrast + mean) * gain * balance
        tables = np.clip(tables, 0, 255).round().astype(np.uint8)
        return replace(sample, image=cv2.LUT(image, tables[None]))


@dataclass(frozen=True)
class Degrade:
    """
    Lose a little quality: blur, sensor noise, JPEG.

    :param probability: of each of the three, by itself
    :param blur: largest standard deviation, pixels
    :param noise: largest standard deviation, grey levels
    :param jpeg_quality: range, 1 to 100
    """

    probability: float = 0.15
    blur: float = 1.2
    noise: float = 10.0
    jpeg_quality: Tuple[int, int] = (40, 90)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps worse."""
        image = sample.image
        if rng.random() < self.probability:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, self.blur))
        if rng.random() < self.probability:
            noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(1.0, self.noise)
            image = np.clip(image + noise, 0, 255).astype(np.uint8)
        if rng.random() < self.probability:
            quality = int(rng.integers(self.jpeg_quality[0], self.jpeg_quality[1] + 1))
            _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return replace(sample, image=image)
