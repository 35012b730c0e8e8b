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
"""Cells are given to objects as the rule says."""

from mtl_perception.assignment import assign, pairwise_iou
from mtl_perception.postprocess import cell_centres
import numpy as np
import pytest
import torch

STRIDES = (8, 16, 32)
SIZE = 128


@pytest.fixture
def grid():
    """Return points and strides of a 128x128 input."""
    return tuple(map(torch.from_numpy, cell_centres(SIZE, SIZE, STRIDES)))


def run(grid, boxes, classes=None, valid=None, predicted=None, scores=None):
    """Assign one sample whose cells all predict ``predicted`` with even scores."""
    points, strides = grid
    boxes = torch.tensor([boxes], dtype=torch.float32).reshape(1, -1, 4)
    count = boxes.shape[1]
    classes = torch.tensor([classes or [0] * count])
    valid = torch.tensor([valid or [True] * count])
    if predicted is None:
        half = 2.0 * strides[:, None]
        predicted = torch.cat([points - half, points + half], dim=1)
    if scores is None:
        scores = torch.full((3, len(points)), 0.1)
    return assign(scores[None], predicted[None], boxes, classes, valid, points, strides)


def test_pairwise_iou_of_known_boxes():
    """Same box 1, half 1/3, apart 0, empty 0."""
    first = torch.tensor([[[0.0, 0, 2, 2], [5, 5, 5, 5]]])
    second = torch.tensor([[[0.0, 0, 2, 2], [1, 0, 3, 2], [4, 4, 6, 6]]])
    expected = torch.tensor([[[1.0, 1 / 3, 0.0], [0.0, 0.0, 0.0]]])
    torch.testing.assert_close(pairwise_iou(first, second), expected)


def test_positives_lie_in_the_box_near_its_centre(grid):
    """Every cell's centre is inside and within two strides of the middle."""
    points, strides = grid
    match = run(grid, [[20, 30, 100, 90]])
    assert len(match.cell) > 0
    chosen = points[match.cell]
    assert ((chosen > torch.tensor([20, 30])) & (chosen < torch.tensor([100, 90]))).all()
    offset = (chosen - torch.tensor([60.0, 60.0])).abs().amax(dim=1)
    assert (offset < 2 * strides[match.cell]).all()


def test_every_object_of_a_cell_or_more_is_answered_for(grid):
    """Objects of any size from 8 pixels that do not overlap all get a cell."""
    boxes = [[3, 3, 12, 12], [40, 40, 60, 61], [70, 4, 120, 60], [2, 64, 30, 120]]
    match = run(grid, boxes)
    assert set(match.box.tolist()) == {0, 1, 2, 3}


def test_a_cell_answers_for_one_object(grid):
    """Where objects overlap no cell is given twice."""
    match = run(grid, [[20, 20, 80, 80], [24, 24, 84, 84], [22, 20, 70, 90]])
    assert len(set(match.cell.tolist())) == len(match.cell)
    assert set(match.box.tolist()) == {0, 1, 2}


def test_good_boxes_earn_more_cells(grid):
    """Where all cells predict the object exactly, ten answer; where none overlaps, one does."""
    points, _ = grid
    box = [[8.0, 8.0, 120.0, 120.0]]
    perfect = torch.tensor(box).expand(len(points), 4)
    assert len(run(grid, box, predicted=perfect).cell) == 10
    nowhere = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(len(points), 4)
    assert len(run(grid, box, predicted=nowhere).cell) == 1


def test_the_class_score_decides_between_equal_boxes(grid):
    """Of cells with equal boxes the one that believes in the class is taken."""
    points, _ = grid
    predicted = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(len(points), 4)
    scores = torch.full((3, len(points)), 0.1)
    favourite = int(((points - torch.tensor([60.0, 60.0])).abs().sum(dim=1)).argmin())
    scores[2, favourite] = 0.9
    match = run(grid, [[20, 20, 100, 100]], classes=[2], predicted=predicted, scores=scores)
    assert match.cell.tolist() == [favourite]


def test_padding_and_no_objects_give_nothing(grid):
    """A padded row is no object, and a sample may be empty."""
    assert run(grid, [[20, 20, 80, 80], [0, 0, 0, 0]], valid=[False, False]).cell.numel() == 0
    assert run(grid, np.zeros((0, 4)).tolist()).cell.numel() == 0


def test_reported_overlap_is_that_of_the_prediction(grid):
    """The overlap handed to the loss is the predicted box's with its object."""
    points, strides = grid
    match = run(grid, [[20, 30, 100, 90]])
    half = 2.0 * strides[match.cell][:, None]
    predicted = torch.cat([points[match.cell] - half, points[match.cell] + half], dim=1)
    expected = pairwise_iou(torch.tensor([[[20.0, 30, 100, 90]]]), predicted[None])[0, 0]
    torch.testing.assert_close(match.iou, expected)
