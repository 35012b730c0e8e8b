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
"""How far two predictions for one frame are apart, as numbers from 0 to 1."""

from dataclasses import dataclass
from typing import Mapping, Optional, Tuple

from mtl_perception.comparison.classes import Shared
from mtl_perception.metrics import (
    confusion_matrix, detection_confusion, intersection_over_union, mean_of_known, Objects)
from mtl_perception.prediction import Detections, Prediction, UNLABELLED
import numpy as np

TASKS = ('boxes', 'mask', 'image class')

MIN_IOU = 0.5
"""From here on two boxes speak of one object."""

MIN_SHARE = 0.001
"""A class with fewer of the picture's pixels in both masks is a few stray pixels."""

CLEAR = 0.25
"""From this score on the sides clearly disagree on a frame."""


@dataclass(frozen=True, eq=False)
class Difference:
    """
    What two predictions for one frame have in common and what not.

    :param boxes: int16 ``[N, 2]``, one row an object: its class for each side, 0 where a side
        has no box
    :param lone: bool for each box of each side: the other lacks it, or calls it otherwise
    :param mask_iou: float32 ``[S]``, of one side's mask with the other's; nan for a class that
        does not count in this frame
    :param mask_confusion: int64 ``[S, S]`` pixels, the first side's class by the second's
    :param image_classes: most probable of each side
    :param scores: of each of ``TASKS`` that both sides answered, 0 (the same) to 1
    """

    boxes: np.ndarray
    lone: Tuple[np.ndarray, np.ndarray]
    mask_iou: np.ndarray
    mask_confusion: np.ndarray
    image_classes: Optional[Tuple[int, int]]
    scores: Mapping[str, float]

    @property
    def score(self) -> float:
        """Return the mean of the scores; nan where there is none."""
        return mean_of_known(list(self.scores.values()) or [np.nan])


def _pairs(first: Detections, second: Detections) -> np.ndarray:
    """Return the positions of boxes of one object, int ``[P, 2]``, whatever their classes."""
    # With an id of its own for each box, the confusion matrix says who took whom.
    matrix = detection_confusion(
        Objects(first.boxes, np.arange(len(first)) + 1, np.zeros(len(first), bool)),
        Detections(second.boxes, second.scores, np.arange(len(second)) + 1),
        max(len(first), len(second)), 0.0, MIN_IOU)
    return np.argwhere(matrix[1:, 1:])


def _taken(detections: Detections, positions: np.ndarray) -> Detections:
    return Detections(detections.boxes[positions], detections.scores[positions],
                      detections.class_ids[positions])


def match_boxes(first: Detections, second: Detections) -> np.ndarray:
    """
    Return the positions of boxes that speak of one object, int ``[P, 2]``.

    First boxes of one class find each other, at an IoU of ``MIN_IOU`` and more, best score first;
    then those that are left, whatever their classes.
    """
    found = [np.zeros((0, 2), np.int64)]
    for class_id in np.intersect1d(first.class_ids, second.class_ids):
        own, other = (np.flatnonzero(side.class_ids == class_id) for side in (first, second))
        pairs = _pairs(_taken(first, own), _taken(second, other))
        found.append(np.stack([own[pairs[:, 0]], other[pairs[:, 1]]], axis=1))
    pairs = np.concatenate(found)
    own = np.setdiff1d(np.arange(len(first)), pairs[:, 0])
    other = np.setdiff1d(np.arange(len(second)), pairs[:, 1])
    rest = _pairs(_taken(first, own), _taken(second, other))
    return np.concatenate([pairs, np.stack([own[rest[:, 0]], other[rest[:, 1]]], axis=1)])


def _compare_boxes(first: Detections, second: Detections
                   ) -> Tuple[np.ndarray, Tuple[np.ndarray, np.ndarray]]:
    pairs = match_boxes(first, second)
    classes = np.stack([first.class_ids[pairs[:, 0]], second.class_ids[pairs[:, 1]]], axis=1)
    same = pairs[classes[:, 0] == classes[:, 1]]
    lone = (np.ones(len(first), bool), np.ones(len(second), bool))
    unpaired = (np.ones(len(first), bool), np.ones(len(second), bool))
    for side in range(2):
        lone[side][same[:, side]] = False
        unpaired[side][pairs[:, side]] = False
    rows = [classes,
            [(class_id, 0) for class_id in first.class_ids[unpaired[0]]],
            [(0, class_id) for class_id in second.class_ids[unpaired[1]]]]
    return np.concatenate([np.reshape(row, (-1, 2)) for row in rows]).astype(np.int16), lone


def box_score(boxes: np.ndarray, shared: Shared) -> float:
    """
    Return 1 - F1 of the boxes of shared classes; 0 where neither side has one.

    :param boxes: int ``[N, 2]``, of one frame or of many
    """
    boxes = boxes[shared.detection[boxes].all(axis=1)]
    count = (boxes > 0).sum()
    both = (boxes[:, 0] == boxes[:, 1]).sum()
    return float(1.0 - 2.0 * both / count) if count else 0.0


def _compare_masks(first: np.ndarray, second: np.ndarray, shared: Shared
                   ) -> Tuple[np.ndarray, np.ndarray]:
    """Return the pixels of each class by each class, and the IoU of the classes that count."""
    first = np.where(second == UNLABELLED, np.uint8(UNLABELLED), first)
    matrix = confusion_matrix(first, second, len(shared.mask))
    largest = np.maximum(matrix.sum(axis=0), matrix.sum(axis=1))
    counts = shared.mask & (largest >= MIN_SHARE * first.size)
    counts[0] = False
    return matrix, np.where(counts, intersection_over_union(matrix), np.nan).astype(np.float32)


def compare(first: Prediction, second: Prediction, shared: Shared) -> Difference:
    """
    Return how far two predictions for one frame are apart.

    :param first: in the common numbering, only boxes that count
    :param second: likewise
    :param shared: which classes both sides know
    """
    scores = {}
    boxes, lone = np.zeros((0, 2), np.int16), (np.zeros(0, bool), np.zeros(0, bool))
    matrix = np.zeros((len(shared.mask),) * 2, np.int64)
    mask_iou, image_classes = np.full(len(shared.mask), np.nan, np.float32), None
    if first.detections is not None and second.detections is not None:
        boxes, lone = _compare_boxes(first.detections, second.detections)
        scores['boxes'] = box_score(boxes, shared)
    if first.mask is not None and second.mask is not None:
        matrix, mask_iou = _compare_masks(first.mask, second.mask, shared)
        known = mask_iou[np.isfinite(mask_iou)]
        scores['mask'] = float(1.0 - known.mean()) if len(known) else 0.0
    own, other = first.class_probabilities, second.class_probabilities
    if own is not None and other is not None and shared.image_classes:
        image_classes = int(own.argmax()), int(other.argmax())
        scores['image class'] = float(min(1.0, 0.5 * np.abs(own - other).sum()))
    return Difference(boxes, lone, mask_iou, matrix, image_classes, scores)
