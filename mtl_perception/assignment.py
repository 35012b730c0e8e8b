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
"""Which cell of the prediction answers for which object: dynamic, by what the network says."""

from dataclasses import dataclass

import torch

CENTRE_RADIUS = 2.0
"""A cell may answer for an object whose centre is within this many strides of the cell's."""

CANDIDATES = 10
"""Overlaps of this many best cells are summed to say how many cells an object gets."""

IOU_COST = 3.0
"""Weight of box overlap against class agreement."""

_EXCLUDED = 1e6


def pairwise_iou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """
    Return the overlap of every box of the first set with every box of the second, per sample.

    :param first: ``[B, M, 4]`` xyxy
    :param second: ``[B, N, 4]`` xyxy
    :return: ``[B, M, N]`` in 0 to 1; 0 for empty boxes
    """
    first, second = first[:, :, None], second[:, None]
    corner_min = torch.maximum(first[..., :2], second[..., :2])
    corner_max = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (corner_max - corner_min).clamp_(min=0).prod(dim=-1)
    area = (first[..., 2:] - first[..., :2]).prod(dim=-1) \
        + (second[..., 2:] - second[..., :2]).prod(dim=-1)
    return intersection / (area - intersection).clamp_(min=1e-6)


@dataclass(frozen=True, eq=False)
class Assignment:
    """
    The object that each cell answers for.

    :param sample: int64 ``[P]``, sample of each positive cell
    :param cell: int64 ``[P]``, its cell
    :param box: int64 ``[P]``, its object within the sample
    :param iou: float ``[P]``, overlap of the predicted box with that object
    """

    sample: torch.Tensor
    cell: torch.Tensor
    box: torch.Tensor
    iou: torch.Tensor


@torch.no_grad()
def assign(scores: torch.Tensor, predicted: torch.Tensor, boxes: torch.Tensor,
           class_indices: torch.Tensor, valid: torch.Tensor, points: torch.Tensor,
           strides: torch.Tensor) -> Assignment:
    """
    Assign cells to objects by lowest cost (SimOTA, Ge et al. 2021).

    A cell is a candidate if its centre lies in the box and near the box's centre. Each object
    takes as many of its cheapest candidates as its best overlaps sum up to, at least one; a cell
    wanted by two goes to the cheaper. An object that covers no cell's centre gets none.

    :param scores: ``[B, D, N]`` detection scores, 0 to 1
    :param predicted: ``[B, N, 4]`` predicted boxes, xyxy in input pixels
    :param boxes: ``[B, M, 4]`` objects, padded
    :param class_indices: int64 ``[B, M]``, 0 is the first detection class
    :param valid: bool ``[B, M]``, false for padding
    :param points: ``[N, 2]`` cell centres
    :param strides: ``[N]``
    """
    objects, cells = boxes.shape[1], points.shape[0]
    if objects == 0:
        empty = torch.zeros(0, dtype=torch.int64, device=boxes.device)
        return Assignment(empty, empty, empty, scores.new_zeros(0))
    to_corner_min = points[None, None] - boxes[:, :, None, :2]          # [B, M, N, 2]
    to_corner_max = boxes[:, :, None, 2:] - points[None, None]
    inside = torch.minimum(to_corner_min, to_corner_max).amin(dim=-1) > 0
    from_centre = (to_corner_min - to_corner_max).abs_().amax(dim=-1) / 2.0
    candidate = inside & (from_centre < CENTRE_RADIUS * strides) & valid[:, :, None]

    iou = pairwise_iou(boxes, predicted) * candidate                    # [B, M, N]
    agreement = scores.gather(1, class_indices[:, :, None].expand(-1, -1, cells))
    cost = -torch.log(agreement.clamp(min=1e-8)) - IOU_COST * torch.log(iou.clamp(min=1e-8))
    cost = torch.where(candidate, cost, _EXCLUDED)

    count = min(CANDIDATES, cells)
    wanted = iou.topk(count, dim=2).values.sum(dim=2).int().clamp_(min=1)
    cheapest, chosen = cost.topk(count, dim=2, largest=False)
    rank = torch.arange(count, device=cost.device)
    taken = (rank < wanted[:, :, None]) & (cheapest < _EXCLUDED)
    bids = torch.full_like(cost, _EXCLUDED)
    bids.scatter_(2, chosen, torch.where(taken, cheapest, _EXCLUDED))
    price, box = bids.min(dim=1)                                        # [B, N]
    sample, cell = torch.nonzero(price < _EXCLUDED, as_tuple=True)
    box = box[sample, cell]
    return Assignment(sample, cell, box, iou[sample, box, cell])
