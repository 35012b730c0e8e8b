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
"""Distance to a teacher: nothing where they agree, in one task alone, with a useful slope."""

from mtl_perception.card import HeadLayout
from mtl_perception.distillation import Distillation
from mtl_perception.recipe import TASKS
import pytest
import torch

LAYOUT = HeadLayout(3, 4, 5)
DISTILLATION = Distillation(LAYOUT, (8, 16, 32))
SIDE = 64
CELLS = 64 + 16 + 4
CHANNELS = {
    'detection': slice(0, LAYOUT.detection_channels.stop),
    'segmentation': LAYOUT.segmentation_channels,
    'classification': LAYOUT.classification_channels,
}


def tensor(seed):
    """Return a prediction tensor."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, LAYOUT.channels, CELLS, generator=generator)
    values[:, :4] = values[:, :4].abs()
    return values


@pytest.mark.parametrize('task', TASKS)
def test_agreement_costs_nothing(task):
    """And difference costs something."""
    assert abs(DISTILLATION(task, tensor(1), tensor(1), SIDE, SIDE).item()) < 1e-6
    assert DISTILLATION(task, tensor(1), tensor(2), SIDE, SIDE).item() > 0.01


@pytest.mark.parametrize('task', TASKS)
def test_a_task_pulls_on_its_own_channels_alone(task):
    """Keeping one task must not hold another back."""
    student = tensor(1).requires_grad_()
    DISTILLATION(task, student, tensor(2), SIDE, SIDE).backward()
    moved = student.grad.abs().sum(dim=(0, 2)) > 0
    expected = torch.zeros(LAYOUT.channels, dtype=torch.bool)
    expected[CHANNELS[task]] = True
    assert torch.equal(moved, expected)


@pytest.mark.parametrize('task', TASKS)
def test_following_the_slope_leads_to_the_teacher(task):
    """The distance halves in a few steps."""
    student, teacher = tensor(1).requires_grad_(), tensor(2)
    optimizer = torch.optim.Adam([student], lr=0.1)
    distances = []
    for _ in range(40):
        distance = DISTILLATION(task, student, teacher, SIDE, SIDE)
        distances.append(distance.item())
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
    assert distances[-1] < 0.5 * distances[0]


def test_boxes_count_where_the_teacher_sees_something():
    """A teacher that sees nothing says nothing about distances."""
    teacher, student = tensor(2), tensor(2)
    student[:, :4] += 1.0
    blind = teacher.clone()
    blind[:, LAYOUT.quality_channel:LAYOUT.detection_channels.stop] = -20.0
    seeing = teacher.clone()
    seeing[:, LAYOUT.quality_channel:LAYOUT.detection_channels.stop] = 20.0

    def distance(answers):
        own = student.clone()
        own[:, 4:] = answers[:, 4:]
        return DISTILLATION('detection', own, answers, SIDE, SIDE).item()
    assert distance(blind) < 1e-6
    assert distance(seeing) == pytest.approx(0.5, abs=0.01)
