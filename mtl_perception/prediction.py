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
"""What the network says about one frame, in the pixels of that frame."""

from dataclasses import dataclass, field
from typing import Mapping, Optional

import numpy as np

BACKGROUND = 0
UNLABELLED = 255


@dataclass(frozen=True, eq=False)
class Detections:
    """
    Boxes of one frame, best score first.

    :param boxes: float32 ``[N, 4]``, ``x_min, y_min, x_max, y_max`` in source pixels, clipped to
        the picture; pixel ``(0, 0)`` covers the square from ``(0, 0)`` to ``(1, 1)``
    :param scores: float32 ``[N]`` in ``[0, 1]``, descending
    :param class_ids: int64 ``[N]``; 1 is the first detection class of the card, as in the mask
        (0 is background)
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray

    def __post_init__(self):
        """Hold the three arrays to one length."""
        count = len(self.boxes)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,) or \
                self.class_ids.shape != (count,):
            raise ValueError(
                f'expected boxes [N, 4], scores [N], class_ids [N], got {self.boxes.shape}, '
                f'{self.scores.shape}, {self.class_ids.shape}')

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class Prediction:
    """
    The answers of the three heads for one frame; None where a head was switched off.

    :param detections: boxes, scores and class ids
    :param mask: uint8 ``[H, W]`` of the source picture's size; 0 is background, 255 unlabelled,
        1 the first class of the card
    :param class_probabilities: float32 ``[K]`` over the card's classification classes, sums to 1
    :param stage_seconds: time spent in ``preprocess``, ``inference`` and ``postprocess``
    """

    detections: Optional[Detections] = None
    mask: Optional[np.ndarray] = None
    class_probabilities: Optional[np.ndarray] = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
