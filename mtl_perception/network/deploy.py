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
"""The network as it is trained, exported and run: bytes in, prediction tensor out."""

from typing import Sequence

import torch
from torch import nn


class DeployNetwork(nn.Module):
    """
    Normalise letterboxed pictures and run the network on them.

    :param network: takes normalised ``[B, 3, H, W]``
    :param mean: of each of R, G, B, in 0 to 255
    :param std: of each of R, G, B, in 0 to 255
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.network = network
        # Not saved: the card says them, and one truth is enough.
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1),
                             persistent=False)
        self.register_buffer('scale',
                             1.0 / torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1),
                             persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """
        Return the prediction tensor.

        :param images: uint8 ``[B, H, W, 3]``, RGB, letterboxed
        :return: float32 ``[B, C, N]``
        """
        planes = images.permute(0, 3, 1, 2).float()
        return self.network((planes - self.mean) * self.scale)
