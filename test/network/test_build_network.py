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
"""Networks come from the card."""

from dataclasses import replace

from mtl_perception.card import Architecture, Card, ClassNames, ImageInput
from mtl_perception.errors import CheckpointError
from mtl_perception.network import build_network, NETWORKS
from mtl_perception.network.deploy import DeployNetwork
import numpy as np
import pytest
import torch

CARD = Card('small', Architecture('unified', (8, 16, 32)), ImageInput(64, 96),
            ClassNames(('a', 'b'), ('background', 'a', 'b'), ('x', 'y', 'z')))


@pytest.mark.parametrize('name', NETWORKS)
def test_shape_follows_the_card(name):
    """Every network answers with the card's channels and cells."""
    card = replace(CARD, architecture=Architecture(name, NETWORKS[name].strides))
    deployed = DeployNetwork(build_network(card), card.input.mean, card.input.std).eval()
    with torch.inference_mode():
        prediction = deployed(torch.zeros(1, 64, 96, 3, dtype=torch.uint8))
    assert prediction.shape == (1, card.layout.channels, card.cells)
    assert prediction.dtype == torch.float32


def test_arguments_reach_the_constructor():
    """The card's arguments shape the network."""
    narrow = build_network(replace(
        CARD, architecture=Architecture('unified', (8, 16, 32), {'width': 32})))
    assert narrow.predict.in_channels == 32


@pytest.mark.parametrize('architecture, message', (
    (Architecture('unknown', (8, 16, 32)), 'expected one of report, unified'),
    (Architecture('unified', (32,)), r'unified has \[8, 16, 32\], got \[32\]'),
    (Architecture('unified', (8, 16, 32), {'depth': 3}), 'arguments'),
), ids=('name', 'strides', 'arguments'))
def test_a_card_of_no_network_is_refused(architecture, message):
    """What is wrong is named in one line."""
    with pytest.raises(CheckpointError, match=message):
        build_network(replace(CARD, architecture=architecture))


def test_deployed_network_normalises_rgb_bytes():
    """The wrapper gives the network (byte - mean) / std, channels first."""
    mean, std = (10.0, 20.0, 30.0), (1.0, 2.0, 4.0)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 4, 6, 3), np.uint8)
    planes = DeployNetwork(torch.nn.Identity(), mean, std)(torch.from_numpy(image))
    expected = ((image - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(planes.numpy(), expected, rtol=1e-6)


def test_normalisation_is_not_saved_twice():
    """The card holds mean and std; the parameters do not."""
    names = DeployNetwork(torch.nn.Linear(1, 1), (0, 0, 0), (1, 1, 1)).state_dict()
    assert set(names) == {'network.weight', 'network.bias'}
