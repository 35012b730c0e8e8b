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
"""From samples to the tensors that the network and the loss take."""

from dataclasses import dataclass
from typing import Callable, Sequence, Tuple

from mtl_perception.augment import apply_all, Augmentation
from mtl_perception.data.sample import Sample
from mtl_perception.losses import MASK_STRIDE, NO_CLASS, Targets
from mtl_perception.prediction import UNLABELLED
from mtl_perception.preprocess import Letterbox
import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class Batch:
    """
    Letterboxed pictures and what the network should say about them.

    :param images: uint8 ``[B, H, W, 3]``, RGB
    :param targets: in pixels of those
    """

    images: torch.Tensor
    targets: Targets

    def to(self, device: torch.device) -> 'Batch':
        """Return the batch on a device."""
        return Batch(self.images.to(device, non_blocking=True), self.targets.to(device))


@dataclass(frozen=True, eq=False)
class Encoded:
    """
    One sample in the network's frame.

    :param image: uint8 ``[H, W, 3]``, RGB
    :param boxes: float32 ``[M, 4]`` xyxy in the input's pixels; empty where unlabelled
    :param class_indices: int64 ``[M]`` from 0
    :param difficult: bool ``[M]``
    :param has_boxes: whether objects are labelled
    :param mask: uint8 ``[H/4, W/4]``, 255 where unlabelled and in the border
    :param image_class: -1 where unlabelled
    """

    image: np.ndarray
    boxes: np.ndarray
    class_indices: np.ndarray
    difficult: np.ndarray
    has_boxes: bool
    mask: np.ndarray
    image_class: int


def encode(sample: Sample, letterbox: Letterbox) -> Encoded:
    """Return ``sample`` as the network sees it through ``letterbox``."""
    image, transform = letterbox(sample.image)
    mask = np.full((letterbox.height // MASK_STRIDE, letterbox.width // MASK_STRIDE), UNLABELLED,
                   np.uint8)
    if sample.mask is not None:
        scale = transform.scale
        rows, columns = (
            ((np.arange(content // MASK_STRIDE) + 0.5) * MASK_STRIDE / factor).astype(np.int64)
            for content, factor in ((transform.content_height, scale[1]),
                                    (transform.content_width, scale[0])))
        mask[:len(rows), :len(columns)] = sample.mask[rows[:, None], columns]
    has_boxes = sample.boxes is not None
    return Encoded(
        image,
        transform.boxes_to_input(sample.boxes) if has_boxes else np.zeros((0, 4), np.float32),
        sample.class_ids - 1 if has_boxes else np.zeros(0, np.int64),
        sample.difficult if has_boxes else np.zeros(0, bool),
        has_boxes, mask, NO_CLASS if sample.image_class is None else sample.image_class)


def collate(samples: Sequence[Encoded]) -> Batch:
    """Return the samples as one batch, boxes padded to the longest list."""
    longest = max(len(sample.boxes) for sample in samples)
    boxes = torch.zeros(len(samples), longest, 4)
    class_indices = torch.zeros(len(samples), longest, dtype=torch.int64)
    positive = torch.zeros(len(samples), longest, dtype=torch.bool)
    ignored = torch.zeros(len(samples), longest, dtype=torch.bool)
    for index, sample in enumerate(samples):
        filled = slice(0, len(sample.boxes))
        boxes[index, filled] = torch.from_numpy(sample.boxes)
        class_indices[index, filled] = torch.from_numpy(sample.class_indices)
        positive[index, filled] = torch.from_numpy(~sample.difficult)
        ignored[index, filled] = torch.from_numpy(sample.difficult)
    return Batch(
        torch.from_numpy(np.stack([sample.image for sample in samples])),
        Targets(boxes, class_indices, positive, ignored,
                torch.tensor([sample.has_boxes for sample in samples]),
                torch.from_numpy(np.stack([sample.mask for sample in samples])),
                torch.tensor([sample.image_class for sample in samples])))


@dataclass(frozen=True, eq=False)
class Part:
    """
    What every batch of a stage takes from one data set.

    :param dataset: of samples, with the labels that are to be learnt
    :param count: samples a batch
    :param augmentations: applied to each in order
    :param order: number that sets its order apart from those of other parts
    """

    dataset: Sequence[Sample]
    count: int
    augmentations: Tuple[Augmentation, ...]
    order: int


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """
    What one batch is made of.

    :param side: of the square input, pixels
    :param turn: batches that were taken from these parts before
    :param parts: with as many samples together as the batch has
    """

    side: int
    turn: int
    parts: Tuple[Part, ...]


class TrainingStream(torch.utils.data.Dataset):
    """
    The endless, reproducible sequence of training batches.

    Batch ``step`` depends on the seed and ``step`` alone, so a run that was cut off goes on with
    the batches it would have had. Of several processes each makes every so many-th sample.

    :param plan: returns what the batch of a step is made of
    :param steps: batches in all
    :param pad_value: grey of the letterbox border
    :param seed: of order and augmentation
    :param rank: of this process, from 0
    :param world: number of processes
    """

    def __init__(self, plan: Callable[[int], BatchPlan], steps: int, pad_value: int, seed: int,
                 rank: int = 0, world: int = 1):
        self._plan = plan
        self._steps = steps
        self._pad_value = pad_value
        self._seed = seed
        self._rank = rank
        self._world = world

    def __len__(self) -> int:
        """Return the number of batches."""
        return self._steps

    def _draw(self, part: Part, position: int) -> Sample:
        epoch, offset = divmod(position, len(part.dataset))
        order = np.random.default_rng((self._seed, 0, part.order, epoch))
        return part.dataset[int(order.permutation(len(part.dataset))[offset])]

    def __getitem__(self, step: int) -> Batch:
        """Return this process's samples of one step."""
        plan = self._plan(step)
        letterbox = Letterbox(plan.side, plan.side, self._pad_value)
        slots = [(part, plan.turn * part.count + number)
                 for part in plan.parts for number in range(part.count)]
        encoded = []
        for slot in range(self._rank, len(slots), self._world):
            part, position = slots[slot]
            rng = np.random.default_rng((self._seed, 1, step, slot))
            sample = apply_all(part.augmentations, self._draw(part, position), rng)
            encoded.append(encode(sample, letterbox))
        return collate(encoded)
