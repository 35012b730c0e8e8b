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
"""Hold a network to a teacher's answers, task by task (Li and Hoiem 2016)."""

from typing import Callable, Dict, Sequence

from mtl_perception.card import HeadLayout
from mtl_perception.losses import quality_focal_loss
import torch
import torch.nn.functional as F


class Distillation:
    """
    The distance between two networks' prediction tensors.

    :param layout: channels of both
    :param strides: of their levels, finest first
    """

    def __init__(self, layout: HeadLayout, strides: Sequence[int]):
        self._layout = layout
        self._strides = tuple(strides)
        self._losses: Dict[str, Callable[..., torch.Tensor]] = {
            'detection': self._detection,
            'segmentation': self._segmentation,
            'classification': self._classification,
        }

    def __call__(self, task: str, student: torch.Tensor, teacher: torch.Tensor, height: int,
                 width: int) -> torch.Tensor:
        """
        Return how far the student is from the teacher in one task, a scalar from 0.

        :param task: detection, segmentation or classification
        :param student: ``[B, C, N]``
        :param teacher: ``[B, C, N]``, without gradient
        :param height: rows of the networks' input
        :param width: columns of the networks' input
        """
        return self._losses[task](student, teacher, height, width)

    def _detection(self, student, teacher, height, width):
        scores = slice(self._layout.quality_channel, self._layout.detection_channels.stop)
        wanted = teacher[:, scores].sigmoid()
        # Cells where the teacher sees nothing count little, as they do in training.
        trust = (wanted[:, 0] * wanted[:, 1:].amax(dim=1)).sqrt()          # [B, N]
        found = trust.sum().clamp(min=1.0)
        distances = self._layout.distance_channels
        sides = F.smooth_l1_loss(student[:, distances], teacher[:, distances],
                                 reduction='none').mean(dim=1)
        return (quality_focal_loss(student[:, scores], wanted).sum()
                + (sides * trust).sum()) / found

    def _segmentation(self, student, teacher, height, width):
        channels = self._layout.segmentation_channels
        cells = (height // self._strides[0]) * (width // self._strides[0])
        return _divergence(student[:, channels, :cells], teacher[:, channels, :cells])

    def _classification(self, student, teacher, height, width):
        channels = self._layout.classification_channels
        cells = (height // self._strides[-1]) * (width // self._strides[-1])
        return _divergence(student[:, channels, -cells:].mean(dim=2, keepdim=True),
                           teacher[:, channels, -cells:].mean(dim=2, keepdim=True))


def _divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the mean Kullback-Leibler divergence of logits ``[B, C, N]`` over samples, cells."""
    loss = F.kl_div(student.log_softmax(dim=1), teacher.log_softmax(dim=1), log_target=True,
                    reduction='none')
    return loss.sum(dim=1).mean()
