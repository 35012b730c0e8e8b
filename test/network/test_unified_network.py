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
"""Size, cost and wiring of the pyramid network."""

from mtl_perception.card import HeadLayout
from mtl_perception.network.unified import UnifiedNetwork
import pytest
import torch
from torch import nn

LAYOUT = HeadLayout(detection=20, segmentation=21, classification=30)


@pytest.fixture(scope='module')
def network():
    """Return the network as shipped, with random weights."""
    torch.manual_seed(0)
    return UnifiedNetwork(LAYOUT).eval()


def multiply_adds(network, images):
    """Return the multiply-adds of all convolutions and linear layers for ``images``."""
    total = 0

    def count(module, _, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()
    hooks = [module.register_forward_hook(count) for module in network.modules()
             if isinstance(module, (nn.Conv2d, nn.Linear))]
    with torch.inference_mode():
        network(images)
    for hook in hooks:
        hook.remove()
    return total


def test_prediction_tensor_has_all_levels(network):
    """512x512 gives 64x64 + 32x32 + 16x16 cells of 76 channels."""
    with torch.inference_mode():
        assert network(torch.rand(2, 3, 512, 512)).shape == (2, 76, 5376)


def test_it_stays_within_its_budget(network):
    """Less than half of the report's 2.6 M parameters and 0.71 GMACs."""
    assert sum(value.numel() for value in network.parameters()) <= 1_300_000
    assert multiply_adds(network, torch.zeros(1, 3, 512, 512)) <= 0.55e9


def test_counting_is_right():
    """A 3x3 convolution of 2 to 5 channels on 4x4 pixels costs 2 * 9 * 5 * 16."""
    assert multiply_adds(nn.Conv2d(2, 5, 3, padding=1), torch.zeros(1, 2, 4, 4)) == 1440


def test_untrained_scores_are_low(network):
    """The prior keeps an untrained network's scores near one in a hundred, boxes non-negative."""
    with torch.inference_mode():
        prediction = network(torch.randn(1, 3, 128, 128))
    assert prediction[:, 4:25].sigmoid().max() < 0.05
    assert (prediction[:, :4] >= 0).all()


def calibrated():
    """Return a random network whose batch norms know its own statistics."""
    torch.manual_seed(1)
    network = UnifiedNetwork(LAYOUT)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 256, 256))
    return network.eval()


def test_levels_are_finest_first():
    """A spot in the picture's corner moves the first cells of each level most."""
    network = calibrated()
    image = torch.zeros(1, 3, 256, 256)
    spot = image.clone()
    spot[:, :, :16, :16] = 4.0
    with torch.inference_mode():
        change = (network(spot) - network(image)).abs()[0].mean(dim=0)
    start = 0
    for side in (32, 16, 8):
        level = change[start:start + side * side].reshape(side, side)
        assert level[:side // 2, :side // 2].mean() > 1.5 * level[side // 2:, side // 2:].mean()
        start += side * side
    assert start == len(change)


def test_pooled_term_reaches_only_the_coarsest_image_classes(network):
    """Moving the linear layer's bias moves the classification channels of stride 32, no other."""
    images = torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        before = network(images)
        network.place.bias += 1.0
        moved = network(images) - before
        network.place.bias -= 1.0
    expected = torch.zeros_like(moved)
    expected[:, LAYOUT.classification_channels, -16:] = 1.0
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)


def test_each_level_has_norms_of_its_own(network):
    """Shared filters, separate statistics."""
    network = UnifiedNetwork(LAYOUT).train()
    network(torch.rand(2, 3, 128, 128))
    means = [norm.running_mean for norm in network.blocks[0].norms]
    assert not torch.allclose(means[0], means[1])
    assert not torch.allclose(means[1], means[2])


def test_every_parameter_learns():
    """A gradient reaches every parameter from one scalar of the prediction."""
    network = UnifiedNetwork(HeadLayout(2, 3, 4)).train()
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []
