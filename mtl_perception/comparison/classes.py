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
"""One numbering for the classes of two sides."""

from dataclasses import dataclass
from typing import Sequence, Tuple

from mtl_perception.card import ClassNames
from mtl_perception.prediction import Detections, Prediction, UNLABELLED
import numpy as np


def _union(first: Sequence[str], second: Sequence[str]) -> Tuple[str, ...]:
    return tuple(dict.fromkeys([*first, *second]))


def common_names(first: ClassNames, second: ClassNames) -> ClassNames:
    """
    Return the names of both sides, those of the first in its order, then what the second adds.

    :raises CheckpointError: if the masks have more than 254 classes together
    """
    return ClassNames(
        _union(first.detection, second.detection),
        (first.segmentation[0], *_union(first.segmentation[1:], second.segmentation[1:])),
        _union(first.classification, second.classification))


class Translation:
    """
    Puts a prediction's ids into the common numbering.

    :param own: names of the side
    :param common: names of both sides
    """

    def __init__(self, own: ClassNames, common: ClassNames):
        """Look every name up once."""
        self._detection = np.array([0, *(common.detection.index(name) + 1
                                         for name in own.detection)])
        self._mask = np.full(256, UNLABELLED, np.uint8)
        self._mask[:len(own.segmentation)] = [
            0, *(common.segmentation.index(name) for name in own.segmentation[1:])]
        self._image_classes = [common.classification.index(name) for name in own.classification]
        self._image_class_count = len(common.classification)

    def __call__(self, prediction: Prediction) -> Prediction:
        """Return the prediction with the ids of the common names."""
        detections, mask, probabilities = (
            prediction.detections, prediction.mask, prediction.class_probabilities)
        if detections is not None:
            detections = Detections(detections.boxes, detections.scores,
                                    self._detection[detections.class_ids])
        if mask is not None:
            mask = self._mask[mask]
        if probabilities is not None:
            spread = np.zeros(self._image_class_count, np.float32)
            spread[self._image_classes] = probabilities
            probabilities = spread
        return Prediction(detections, mask, probabilities, prediction.stage_seconds)


@dataclass(frozen=True, eq=False)
class Shared:
    """
    Which classes of the common numbering both sides know: only those are compared.

    :param names: of both sides
    :param detection: bool ``[D + 1]``; none (0) is shared
    :param mask: bool ``[S]``; the background (0) is shared
    :param image_classes: whether there are such
    """

    names: ClassNames
    detection: np.ndarray
    mask: np.ndarray
    image_classes: bool


def shared_classes(first: ClassNames, second: ClassNames) -> Shared:
    """Return what both sides know."""
    names = common_names(first, second)

    def known(common: Sequence[str], one: Sequence[str], other: Sequence[str]) -> np.ndarray:
        return np.array([True, *(name in one and name in other for name in common)])
    return Shared(
        names, known(names.detection, first.detection, second.detection),
        known(names.segmentation[1:], first.segmentation[1:], second.segmentation[1:]),
        not set(first.classification).isdisjoint(second.classification))


def only_known_to_one(first: ClassNames, second: ClassNames) -> Tuple[Tuple[str, ...], ...]:
    """Return the names that only the first side has, and those that only the second has."""
    def names(classes: ClassNames) -> Tuple[str, ...]:
        return _union(_union(classes.detection, classes.segmentation[1:]), classes.classification)
    own, other = names(first), names(second)
    return (tuple(name for name in own if name not in other),
            tuple(name for name in other if name not in own))
