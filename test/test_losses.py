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
"""The joint loss: its minimum, its masks and its gradients."""

from dataclasses import replace
import math

from mtl_perception.card import HeadLayout
from mtl_perception.losses import (
    dice_loss, LossWeights, MultiTaskLoss, quality_focal_loss, Targets)
from mtl_perception.postprocess import cell_centres
import pytest
import torch

LAYOUT = HeadLayout(detection=2, segmentation=3, classification=4)
STRIDES = (8, 16, 32)
SIZE = 64
CELLS = 64 + 16 + 4
PARTS = ('box', 'quality', 'detection', 'segmentation', 'dice', 'classification')


def example():
    """Return the targets of two samples: one object of class 2, and nothing."""
    masks = torch.zeros(2, SIZE // 4, SIZE // 4, dtype=torch.uint8)
    masks[0, 4:12, 4:12] = 2
    return Targets(
        boxes=torch.tensor([[[16.0, 16, 48, 48]], [[0.0, 0, 0, 0]]]),
        class_indices=torch.tensor([[1], [0]]),
        positive=torch.tensor([[True], [False]]),
        ignored=torch.zeros(2, 1, dtype=torch.bool),
        has_boxes=torch.tensor([True, True]), masks=masks,
        image_classes=torch.tensor([3, 0]))


def perfect():
    """Return the prediction tensor that answers ``example`` exactly at every level."""
    points, strides = map(torch.from_numpy, cell_centres(SIZE, SIZE, STRIDES))
    prediction = torch.full((2, LAYOUT.channels, CELLS), -12.0)
    prediction[:, :4] = torch.stack(
        [points[:, 0] - 16, points[:, 1] - 16, 48 - points[:, 0], 48 - points[:, 1]]) / strides
    inside = ((points > 16) & (points < 48)).all(dim=1)
    prediction[0, 4, inside] = 12.0
    prediction[0, 6, inside] = 12.0
    prediction[:, LAYOUT.segmentation_channels][:, 0] = 12.0
    grid = torch.zeros(8, 8, dtype=torch.bool)
    grid[2:6, 2:6] = True
    fine = torch.cat([grid.flatten(), torch.zeros(CELLS - 64, dtype=torch.bool)])
    segmentation = prediction[:, LAYOUT.segmentation_channels]
    segmentation[0, 0, fine] = -12.0
    segmentation[0, 2, fine] = 12.0
    prediction[0, LAYOUT.classification_channels][3] = 12.0
    prediction[1, LAYOUT.classification_channels][0] = 12.0
    return prediction


def losses(prediction, targets, weights=LossWeights()):
    """Return the parts for a 64x64 input."""
    return MultiTaskLoss(LAYOUT, STRIDES, weights)(prediction, targets, SIZE, SIZE)


def test_the_right_answer_costs_next_to_nothing():
    """Only the blurred border of the mask is left."""
    right = losses(perfect(), example())
    blank = losses(torch.zeros(2, LAYOUT.channels, CELLS), example())
    assert float(right['box']) < 1e-3
    assert float(right['classification']) < 1e-3
    assert float(right['dice']) < 0.2 * float(blank['dice'])
    assert float(right['segmentation']) < 0.3 * float(blank['segmentation'])


@pytest.mark.parametrize('channel, part', (
    (0, 'box'), (4, 'quality'), (6, 'detection'),
    (LAYOUT.segmentation_channels.start, 'segmentation'),
    (LAYOUT.segmentation_channels.start, 'dice'),
    (LAYOUT.classification_channels.start + 3, 'classification')))
def test_a_wrong_channel_costs(channel, part):
    """Each part sees its own channels."""
    prediction = perfect()
    good = float(losses(prediction, example())[part])
    prediction[0, channel] = 6.0 if channel == 0 else -prediction[0, channel]
    assert float(losses(prediction, example())[part]) > good + 0.05


def test_total_is_the_weighted_sum():
    """The weights scale the parts, and the total adds them."""
    prediction = torch.randn(2, LAYOUT.channels, CELLS).abs()
    plain = losses(prediction, example(), LossWeights(1, 1, 1, 1, 1, 1))
    weighted = losses(prediction, example(), LossWeights(1, 2, 3, 4, 5, 6))
    for weight, name in enumerate(PARTS, start=1):
        assert float(weighted[name]) == pytest.approx(weight * float(plain[name]), rel=1e-5)
    assert float(weighted['total']) == pytest.approx(
        sum(float(weighted[name]) for name in PARTS), rel=1e-5)


UNLABELLED = {
    'boxes': ({'has_boxes': torch.tensor([False, True])}, slice(0, 7)),
    'mask': ({'masks': torch.full((2, 16, 16), 255, dtype=torch.uint8)},
             LAYOUT.segmentation_channels),
    'image class': ({'image_classes': torch.tensor([-1, 0])}, LAYOUT.classification_channels),
}


@pytest.mark.parametrize('name', UNLABELLED)
def test_a_label_that_is_lacking_gives_no_gradient(name):
    """The sample's channels of that head stay as they are; the other heads still learn."""
    change, channels = UNLABELLED[name]
    torch.manual_seed(0)
    prediction = torch.rand(2, LAYOUT.channels, CELLS, requires_grad=True)
    losses(prediction, replace(example(), **change))['total'].backward()
    touched = prediction.grad[0].abs().sum(dim=1) > 0
    assert not touched[channels].any()
    others = torch.ones(LAYOUT.channels, dtype=torch.bool)
    others[channels] = False
    assert touched[others].any()


def test_nothing_labelled_at_all_is_zero_and_finite():
    """A batch without any label costs nothing and gives no gradient."""
    prediction = torch.rand(2, LAYOUT.channels, CELLS, requires_grad=True)
    targets = replace(example(), has_boxes=torch.tensor([False, False]),
                      masks=torch.full((2, 16, 16), 255, dtype=torch.uint8),
                      image_classes=torch.tensor([-1, -1]))
    total = losses(prediction, targets)['total']
    total.backward()
    assert float(total.detach()) == 0.0
    assert float(prediction.grad.abs().max()) == 0.0


def test_a_difficult_object_is_neither_rewarded_nor_punished():
    """Its cells' scores get no gradient, those elsewhere do."""
    targets = replace(example(), positive=torch.tensor([[False], [False]]),
                      ignored=torch.tensor([[True], [False]]))
    prediction = torch.rand(2, LAYOUT.channels, CELLS, requires_grad=True)
    losses(prediction, targets)['total'].backward()
    points, _ = map(torch.from_numpy, cell_centres(SIZE, SIZE, STRIDES))
    inside = ((points > 16) & (points < 48)).all(dim=1)
    assert float(prediction.grad[0, 4:7][:, inside].abs().max()) == 0.0
    assert (prediction.grad[0, 4][~inside] != 0).all()


def test_random_predictions_give_finite_gradients():
    """Extreme values do not blow up."""
    torch.manual_seed(0)
    prediction = (torch.randn(2, LAYOUT.channels, CELLS) * 30).requires_grad_()
    with torch.no_grad():
        prediction[:, :4].abs_()
    losses(prediction, example())['total'].backward()
    assert torch.isfinite(prediction.grad).all()


def test_quality_focal_loss_of_known_values():
    """At the target it is 0 for 0 and 1; half way it is (1/2)^2 times the cross entropy."""
    assert float(quality_focal_loss(torch.tensor(0.0), torch.tensor(1.0))) == \
        pytest.approx(0.25 * math.log(2))
    assert float(quality_focal_loss(torch.tensor(0.0), torch.tensor(0.5))) == 0.0


def test_dice_of_right_wrong_and_absent():
    """Right is 0, wrong is 1, and classes that are not there do not count."""
    masks = torch.tensor([[[0, 1], [1, 255]]])
    right = torch.full((1, 3, 2, 2), -20.0)
    right[0, 0, 0, 0] = right[0, 1, 0, 1] = right[0, 1, 1, 0] = 20.0
    right[0, 2, 1, 1] = 20.0        # unlabelled: may be anything
    assert float(dice_loss(right, masks)) == pytest.approx(0.0, abs=1e-5)
    assert float(dice_loss(right.roll(1, dims=1), masks)) == pytest.approx(1.0, abs=1e-5)
    assert float(dice_loss(right, torch.zeros(1, 2, 2, dtype=torch.int64))) == 0.0
