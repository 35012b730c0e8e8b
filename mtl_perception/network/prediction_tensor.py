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
"""The one tensor in which every network answers, and how its last layer starts."""

import math
from typing import Sequence

from mtl_perception.card import HeadLayout
import torch
from torch import nn
import torch.nn.functional as F

PRIOR_PROBABILITY = 0.01
"""Score that an untrained network gives every cell, so that background does not swamp the loss."""

PRIOR_DISTANCE = 1.5
"""Distance, in strides, of an untrained network's box sides from the cell's centre."""


def flatten_levels(levels: Sequence[torch.Tensor]) -> torch.Tensor:
    """
    Join the maps of all levels to the prediction tensor.

    :param levels: ``[B, C, H, W]`` each, finest first; channels as in ``HeadLayout``, distances
        still of any sign
    :return: ``[B, C, N]`` with non-negative distances
    """
    cells = torch.cat([level.flatten(2) for level in levels], dim=2)
    return torch.cat([F.softplus(cells[:, :4]), cells[:, 4:]], dim=1)


def start_from_prior(conv: nn.Conv2d, layout: HeadLayout) -> None:
    """Set the last convolution so that the untrained network says 'nothing here' everywhere."""
    nn.init.normal_(conv.weight, std=0.01)
    with torch.no_grad():
        conv.bias.zero_()
        conv.bias[layout.distance_channels] = math.log(math.expm1(PRIOR_DISTANCE))
        scores = slice(layout.quality_channel, layout.detection_channels.stop)
        conv.bias[scores] = math.log(PRIOR_PROBABILITY / (1.0 - PRIOR_PROBABILITY))
