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
    :param aimed: probability that the window is laid so that it shows a certain object; a small
        window anywhere mostly shows none
    :param place_zoom: smallest zoom at which the image class still holds: a picture of one mug
        says nothing of the room
    :param grey: of the border, 0 to 255
    """

    zoom: Tuple[float, float] = (0.6, 1.5)
    aspects: Tuple[float, ...] = (1.0, 1.0, 1.0, 4.0 / 3.0, 16.0 / 9.0)
    probability: float = 0.9
    aimed: float = 0.0
    place_zoom: float = 0.0
    grey: int = 114

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the window."""
        if rng.random() >= self.probability:
            return sample
        rows, columns = sample.image.shape[:2]
        aspect = self.aspects[rng.integers(len(self.aspects))]
        zoom = np.exp(rng.uniform(*np.log(self.zoom)))
        longer = max(rows, columns) * zoom
        width = max(1, round(longer * min(1.0, aspect)))
        height = max(1, round(longer / max(1.0, aspect)))
        # Where the window is smaller it stays inside; where it is larger it holds the picture.
        spans = [[min(0, spare), max(0, spare)] for spare in (columns - width, rows - height)]
        if sample.boxes is not None and len(sample.boxes) and rng.random() < self.aimed:
            box = sample.boxes[rng.integers(len(sample.boxes))]
            for span, centre, side in zip(spans, (box[:2] + box[2:]) / 2, (width, height)):
                low, high = np.clip([centre - 0.85 * side, centre - 0.15 * side], *span)
                span[:] = low, high
        x, y = (round(rng.uniform(*span)) for span in spans)
        window = cut(sample, x, y, width, height, self.grey)
        return replace(window, image_class=None) if zoom < self.place_zoom else window


@dataclass(frozen=True, eq=False)
class CopyPaste:
    """
    Paste objects of another sample, cut out along its mask (Ghiasi et al. 2021).

    Rendered or photographed frames are mostly empty; every pasted object is one more to learn
    from, and hides others as clutter does. The image class stays that of the sample.

    :param dataset: of samples to take objects from; those without boxes or mask give none
    :param probability: of doing so at all
    :param most: largest number of objects pasted
    :param scale: range of their size over the size they were seen at
    """

    dataset: Sequence[Sample]
    probability: float = 0.5
    most: int = 6
    scale: Tuple[float, float] = (0.7, 1.4)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with more objects in it; unchanged if it lacks boxes or mask."""
        if sample.boxes is None or sample.mask is None or rng.random() >= self.probability:
            return sample
        giver = self.dataset[int(rng.integers(len(self.dataset)))]
        if giver.boxes is None or giver.mask is None:
            return sample
        whole = np.flatnonzero(~giver.difficult)
        for index in rng.permutation(whole)[:rng.integers(1, self.most + 1)]:
            sample = self._paste(sample, giver, index, rng)
        return sample

    def _paste(self, sample: Sample, giver: Sample, index: int, rng) -> Sample:
        x_min, y_min, x_max, y_max = giver.boxes[index].round().astype(int)
        class_id = giver.class_ids[index]
        outline = (giver.mask[y_min:y_max, x_min:x_max] == class_id).astype(np.uint8)
        scale = np.exp(rng.uniform(*np.log(self.scale)))
        rows, columns = sample.image.shape[:2]
        width, height = (round((x_max - x_min) * scale), round((y_max - y_min) * scale))
        if min(width, height) < MIN_SIDE or width >= columns or height >= rows:
            return sample
        picture = cv2.resize(giver.image[y_min:y_max, x_min:x_max], (width, height),
                             interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        outline = cv2.resize(outline, (width, height), interpolation=cv2.INTER_NEAREST)
        if rng.random() < 0.5:
            picture, outline = picture[:, ::-1], outline[:, ::-1]
        filled = outline.any(axis=0).nonzero()[0], outline.any(axis=1).nonzero()[0]
        if not len(filled[0]):
            return sample
        x, y = int(rng.integers(columns - width + 1)), int(rng.integers(rows - height + 1))
        window = np.s_[y:y + height, x:x + width]
        image, mask = sample.image.copy(), sample.mask.copy()
        image[window][outline > 0] = picture[outline > 0]
        mask[window][outline > 0] = class_id
        box = np.array([x + filled[0][0], y + filled[1][0], x + filled[0][-1] + 1,
                        y + filled[1][-1] + 1], np.float32)
        boxes, shares = _still_seen(sample, mask)
        kept = shares > 0
        return replace(
            sample, image=image, mask=mask,
            boxes=np.concatenate([boxes[kept], box[None]]),
            class_ids=np.append(sample.class_ids[kept], class_id),
            difficult=np.append((sample.difficult | (shares < 0.5))[kept], False))


def _still_seen(sample: Sample, mask: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return the objects' boxes under a new mask, and the share of each that is still there."""
    boxes, shares = sample.boxes.copy(), np.ones(len(sample.boxes))
    for index, (box, class_id) in enumerate(zip(sample.boxes, sample.class_ids)):
        x_min, y_min, x_max, y_max = box.round().astype(int)
        before = sample.mask[y_min:y_max, x_min:x_max] == class_id
        after = before & (mask[y_min:y_max, x_min:x_max] == class_id)
        area = np.count_nonzero(before)
        shares[index] = np.count_nonzero(after) / area if area else 1.0
        if 0 < shares[index] < 1:
            x, y, width, height = cv2.boundingRect(after.astype(np.uint8))
            boxes[index] = x_min + x, y_min + y, x_min + x + width, y_min + y + height
    return boxes, shares


@dataclass(frozen=True)
class Recolour:
    """
    Give single objects another colour, as another brand or batch of the same thing has.

    The hue of an object's pixels is turned by any angle, or its colour channels change places;
    saturation and brightness change with it, and now and then light and dark change places too.
    Texture, shape and shading stay, and they are what tells the class of a variant never seen.

    :param probability: of each object
    """

    probability: float = 0.3

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with some objects recoloured; unchanged if it lacks boxes or mask."""
        if sample.boxes is None or sample.mask is None or not len(sample.boxes):
            return sample
        chosen = np.flatnonzero(rng.random(len(sample.boxes)) < self.probability)
        image = sample.image.copy() if len(chosen) else sample.image
        for index in chosen:
            x_min, y_min, x_max, y_max = sample.boxes[index].round().astype(int)
            window = np.s_[y_min:y_max, x_min:x_max]
            own = sample.mask[window] == sample.class_ids[index]
            if not own.any():
                continue
            image[window][own] = _other_colour(image[window], rng)[own]
        return replace(sample, image=image)


def _other_colour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the picture in colours that have little to do with its own."""
    levels = np.arange(256.0)
    turn, swap = (rng.uniform(0, 180), np.arange(3)) if rng.random() < 0.5 \
        else (0.0, rng.permutation(3))
    hsv = cv2.cvtColor(np.ascontiguousarray(image[..., swap]), cv2.COLOR_BGR2HSV)
    tables = np.stack([(levels + turn) % 180.0,
                       np.clip(levels * rng.uniform(0.3, 1.6), 0, 255), levels], axis=1)
    image = cv2.cvtColor(cv2.LUT(hsv, tables.round().astype(np.uint8)[None]), cv2.COLOR_HSV2BGR)
    tone = 255.0 * (levels / 255.0) ** np.exp(rng.uniform(*np.log((0.4, 2.0))))
    tone = 255.0 - tone if rng.random() < 0.1 else tone
    # A tint of its own for each channel: grey things become coloured, dark things light.
    tables = tone[:, None] * rng.uniform(0.6, 1.15, 3) + rng.uniform(0, 50) * rng.random(3)
    return cv2.LUT(image, np.clip(tables, 0, 255).round().astype(np.uint8)[None])


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
    Lose quality as a camera, its lens, its light or its link does.

    Small losses are drawn more often than large ones.

    :param probability: of each of the five, by itself
    :param blur: largest standard deviation, pixels
    :param noise: largest standard deviation, grey levels
    :param contrast: smallest factor on the distance from the mean
    :param darkness: smallest factor on all values
    :param jpeg_quality: range, 1 to 100
    """

    probability: float = 0.15
    blur: float = 3.0
    noise: float = 46.0
    contrast: float = 0.2
    darkness: float = 0.25
    jpeg_quality: Tuple[int, int] = (12, 90)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps worse."""
        image = sample.image
        wanted = rng.random(5) < self.probability
        # The power puts half of the draws in the lowest third.
        blur, noise, contrast, darkness, jpeg = rng.random(5) ** 1.5
        if wanted[0]:
            image = cv2.GaussianBlur(image, (0, 0), 0.3 + blur * (self.blur - 0.3))
        if wanted[1] or wanted[2]:
            gain = 1.0 - contrast * (1.0 - self.contrast) if wanted[1] else 1.0
            dark = 1.0 - darkness * (1.0 - self.darkness) if wanted[2] else 1.0
            mean = image.mean()
            levels = np.clip(((np.arange(256) - mean) * gain + mean) * dark, 0, 255)
            image = cv2.LUT(image, levels.round().astype(np.uint8))
        if wanted[3]:
            grain = rng.standard_normal(image.shape, np.float32)
            image = np.clip(image + grain * np.float32(1.0 + noise * (self.noise - 1.0)), 0, 255)
            image = image.astype(np.uint8)
        if wanted[4]:
            low, high = self.jpeg_quality
            quality = round(high - jpeg * (high - low))
            _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return replace(sample, image=image)
