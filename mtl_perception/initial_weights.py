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
"""What a training may start from instead of random weights."""

from typing import List

from mtl_perception.backends.torch_backend import load_network
from mtl_perception.checkpoint import Checkpoint, load_checkpoint, SAFETENSORS, verified_bytes
from mtl_perception.errors import ConfigError
from safetensors.torch import load
from torch import nn
from torchvision.models import mobilenet_v3_small, MobileNet_V3_Small_Weights

IMAGENET = 'imagenet'


def load_trunk(network: nn.Module, source: str) -> None:
    """
    Fill the trunk, MobileNetV3-Small in every network, with trained weights.

    :param source: ``imagenet``, torchvision's weights, which it downloads once; or weights, a name
        in weights/ or a path
    :raises ConfigError: if they cannot be had
    """
    if source == IMAGENET:
        try:
            layers = mobilenet_v3_small(weights=MobileNet_V3_Small_Weights.IMAGENET1K_V1).features
        except OSError as error:
            raise ConfigError(f'recipe: trunk: expected to download torchvision weights, got: '
                              f'{error}; leave trunk out, or name a weights folder') from None
    else:
        layers = load_network(load_checkpoint(source)).trunk_layers
    network.trunk_layers.load_state_dict(layers.state_dict())


def load_matching(network: nn.Module, checkpoint: Checkpoint) -> List[str]:
    """
    Fill the network with a checkpoint's tensors and return the names of those that do not fit.

    Other classes give a last layer of another shape: that starts afresh, all else goes on.

    :raises ConfigError: if nothing fits
    """
    given = load(verified_bytes(checkpoint, SAFETENSORS))
    own = network.state_dict()
    fitting = {name: value for name, value in given.items()
               if name in own and own[name].shape == value.shape}
    if not fitting:
        raise ConfigError(f'recipe: start_from: expected weights of the same network, got '
                          f'{checkpoint.folder}: {checkpoint.card.architecture.name}')
    network.load_state_dict(fitting, strict=False)
    return sorted(set(own) - set(fitting))
