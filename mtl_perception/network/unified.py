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
"""The network that replaces the report's: a light feature pyramid on the same trunk."""

from typing import List, Sequence

from mtl_perception.card import HeadLayout
from mtl_perception.network.prediction_tensor import flatten_levels, start_from_prior
import torch
from torch import nn
import torch.nn.functional as F
from torchvision.models import mobilenet_v3_small

TAPS = (3, 8, 12)
TAP_CHANNELS = (24, 48, 576)


def _separable(channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False))


class Trunk(nn.Module):
    """MobileNetV3-Small, tapped at strides 8, 16 and 32."""

    def __init__(self):
        super().__init__()
        self.layers = mobilenet_v3_small(weights=None).features

    def forward(self, images: torch.Tensor) -> List[torch.Tensor]:
        """
        Return the three taps, finest first.

        :param images: normalised ``[B, 3, H, W]``
        :return: ``[B, 24, H/8, W/8]``, ``[B, 48, H/16, W/16]``, ``[B, 576, H/32, W/32]``
        """
        taps = []
        for index, layer in enumerate(self.layers):
            images = layer(images)
            if index in TAPS:
                taps.append(images)
        return taps


class Pyramid(nn.Module):
    """
    Bring the taps to one width and hand the coarse levels' context down to the fine ones.

    :param width: channels of every level
    """

    def __init__(self, width: int):
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
            for channels in TAP_CHANNELS)
        self.smooth = nn.ModuleList(
            nn.Sequential(_separable(width, 5), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
            for _ in TAP_CHANNELS)

    def forward(self, taps: Sequence[torch.Tensor]) -> List[torch.Tensor]:
        """
        Return one ``[B, width, H/s, W/s]`` map a tap, finest first.

        :param taps: the trunk's maps, each half the size of the one before
        """
        levels = [lateral(tap) for lateral, tap in zip(self.lateral, taps)]
        for finer in range(len(levels) - 2, -1, -1):
            coarse = F.interpolate(levels[finer + 1], scale_factor=2.0, mode='nearest')
            levels[finer] = levels[finer] + coarse
        return [smooth(level) for smooth, level in zip(self.smooth, levels)]


class SharedBlock(nn.Module):
    """
    Refine every level with the same filters but the level's own statistics.

    One filter bank sees objects of every size; batch norm of its own keeps each level's
    distribution, which is what a shared norm gets wrong.

    :param width: channels in and out
    :param levels: number of levels
    """

    def __init__(self, width: int, levels: int):
        super().__init__()
        self.convolution = _separable(width, 3)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(levels))

    def forward(self, levels: Sequence[torch.Tensor]) -> List[torch.Tensor]:
        """Return the refined maps, shapes unchanged."""
        return [level + F.relu(norm(self.convolution(level)))
                for level, norm in zip(levels, self.norms)]


class UnifiedNetwork(nn.Module):
    """
    Predict all three tasks from strides 8, 16 and 32 with one shared head.

    Detection reads every level, segmentation the finest, classification the coarsest, whose
    image-class channels also get a linear layer on the pooled trunk.

    :param layout: the channels of the prediction tensor
    :param width: channels of the pyramid
    :param blocks: number of shared blocks
    """

    strides = (8, 16, 32)

    def __init__(self, layout: HeadLayout, width: int = 96, blocks: int = 2):
        super().__init__()
        self.layout = layout
        self.trunk = Trunk()
        self.pyramid = Pyramid(width)
        self.blocks = nn.ModuleList(SharedBlock(width, len(TAPS)) for _ in range(blocks))
        self.predict = nn.Conv2d(width, layout.channels, 1)
        self.place = nn.Linear(TAP_CHANNELS[-1], layout.classification)
        start_from_prior(self.predict, layout)

    @property
    def trunk_layers(self) -> nn.Sequential:
        """Return torchvision's feature layers in their own order."""
        return self.trunk.layers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """
        Return the prediction tensor.

        :param images: normalised ``[B, 3, H, W]``, sides multiples of 32
        :return: ``[B, C, N]`` as :class:`mtl_perception.card.HeadLayout` describes
        """
        taps = self.trunk(images)
        levels = self.pyramid(taps)
        for block in self.blocks:
            levels = block(levels)
        levels = [self.predict(level) for level in levels]
        place = self.place(taps[-1].mean(dim=(2, 3)))[:, :, None, None]
        start = self.layout.classification_channels.start
        levels[-1] = torch.cat([levels[-1][:, :start], levels[-1][:, start:] + place], dim=1)
        return flatten_levels(levels)
