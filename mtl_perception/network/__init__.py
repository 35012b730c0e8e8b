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
"""Torch modules; no files are read or written here."""

from mtl_perception.card import Card
from mtl_perception.errors import CheckpointError
from mtl_perception.network.report import ReportNetwork
from mtl_perception.network.unified import UnifiedNetwork
from torch import nn

NETWORKS = {'report': ReportNetwork, 'unified': UnifiedNetwork}


def build_network(card: Card) -> nn.Module:
    """
    Return the card's network with fresh weights.

    :raises CheckpointError: if the card names no known network, or strides or arguments that
        this network does not have
    """
    architecture = card.architecture
    if architecture.name not in NETWORKS:
        raise CheckpointError(f'card: architecture.name: expected one of '
                              f'{", ".join(sorted(NETWORKS))}, got {architecture.name!r}')
    constructor = NETWORKS[architecture.name]
    if architecture.strides != constructor.strides:
        raise CheckpointError(
            f'card: architecture.strides: {architecture.name} has {list(constructor.strides)}, '
            f'got {list(architecture.strides)}')
    try:
        return constructor(card.layout, **architecture.arguments)
    except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise CheckpointError(f'card: architecture.arguments: {reason}') from None
