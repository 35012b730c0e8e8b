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
"""The joint loss; a label that a sample lacks gives no gradient."""

from dataclasses import dataclass, fields
from typing import Callable, Dict, Sequence

from mtl_perception.assignment import assign, Assignment
from mtl_perception.card import HeadLayout
from mtl_perception.postprocess import cell_centres, ltrb_to_xyxy
from mtl_perception.prediction import UNLABELLED
import torch
from torch import nn
import torch.nn.functional as F
from torchvision.ops import generalized_box_iou_loss

NO_CLASS = -1
"""Image class of a sample without one."""

MASK_STRIDE = 4
"""The mask is supervised at a quarter of the input: full size costs 27 times more."""


@dataclass(frozen=True, eq=False)
class Targets:
    """
    What the samples of a batch should give; everything in pixels of the network's input.

    :param boxes: float32 ``[B, M, 4]`` xyxy, padded to the longest sample
    :param class_indices: int64 ``[B, M]``, 0 is the first detection class
    :param positive: bool ``[B, M]``, objects to be found
    :param ignored: bool ``[B, M]``, objects whose finding is neither rewarded nor punished
    :param has_boxes: bool ``[B]``, whether the sample's objects are labelled at all
    :param masks: uint8 ``[B, H/4, W/4]`` class ids, 255 where unlabelled
    :param image_classes: int64 ``[B]``, -1 where unlabelled
    """

    boxes: torch.Tensor
    class_indices: torch.Tensor
    positive: torch.Tensor
    ignored: torch.Tensor
    has_boxes: torch.Tensor
    masks: torch.Tensor
    image_classes: torch.Tensor

    def to(self, device: torch.device) -> 'Targets':
        """Return the targets on a device."""
        return Targets(*(getattr(self, item.name).to(device, non_blocking=True)
                         for item in fields(self)))


@dataclass(frozen=True)
class LossWeights:
    """
    How much each part counts in the sum.

    :param box: overlap loss of the boxes
    :param quality: focal loss of the quality logit
    :param detection: focal loss of the detection classes
    :param segmentation: cross entropy of the mask
    :param dice: Dice loss of the mask
    :param classification: cross entropy of the image class
    """

    box: float = 2.0
    quality: float = 1.0
    detection: float = 1.0
    segmentation: float = 1.0
    dice: float = 0.5
    classification: float = 0.5


def quality_focal_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """
    Return the focal loss for soft targets (Li et al. 2020), beta 2, elementwise.

    :param logits: any shape
    :param targets: the same shape, 0 to 1
    """
    scale = (torch.sigmoid(logits) - targets).square()
    return scale * F.binary_cross_entropy_with_logits(logits, targets, reduction='none')


def dice_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """
    Return one minus the soft Dice, averaged over the foreground classes present in the batch.

    :param logits: ``[B, S, H, W]``, channel 0 is the background
    :param masks: int64 ``[B, H, W]``, 255 where unlabelled
    :return: scalar; 0 where no foreground class is present
    """
    labelled = (masks != UNLABELLED).unsqueeze(1)
    truth = F.one_hot(masks.where(masks != UNLABELLED, 0), logits.shape[1]).permute(0, 3, 1, 2)
    truth = (truth * labelled)[:, 1:].float()
    probability = (logits.softmax(dim=1) * labelled)[:, 1:]
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    total = probability.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    present = truth.amax(dim=(0, 2, 3)) > 0
    dice = 2.0 * overlap / total.clamp(min=1e-6)
    return ((1.0 - dice) * present).sum() / present.sum().clamp(min=1)


class MultiTaskLoss(nn.Module):
    """
    Weighted sum of the losses of the three heads.

    :param layout: channels of the prediction tensor
    :param strides: of its levels, finest first
    :param weights: of the parts
    :param average: takes a count of this process to its mean over all processes, so that the
        mean of their gradients is that of one process with all the samples
    """

    def __init__(self, layout: HeadLayout, strides: Sequence[int],
                 weights: LossWeights = LossWeights(),
                 average: Callable[[torch.Tensor], torch.Tensor] = lambda count: count):
        super().__init__()
        self.layout = layout
        self.strides = tuple(strides)
        self.weights = weights
        self._average = average

    def _mean_count(self, count: torch.Tensor) -> torch.Tensor:
        return self._average(count.float()).clamp(min=1.0)

    def forward(self, prediction: torch.Tensor, targets: Targets, height: int,
                width: int) -> Dict[str, torch.Tensor]:
        """
        Return the weighted parts by the names of ``LossWeights``, and their sum as ``total``.

        :param prediction: ``[B, C, N]``
        :param targets: of the same samples
        :param height: rows of the network's input
        :param width: columns of the network's input
        """
        parts = {
            **self._detection(prediction, targets, height, width),
            **self._segmentation(prediction, targets.masks, height, width),
            'classification': self._classification(prediction, targets.image_classes, height,
                                                   width),
        }
        parts = {name: getattr(self.weights, name) * value for name, value in parts.items()}
        parts['total'] = sum(parts.values())
        return parts

    def _detection(self, prediction, targets, height, width):
        points, strides = (torch.from_numpy(array).to(prediction.device)
                           for array in cell_centres(height, width, self.strides))
        predicted = torch.stack(ltrb_to_xyxy(
            *points.T, strides, *prediction[:, self.layout.distance_channels].unbind(1)),
            dim=-1)                                                         # [B, N, 4]
        quality = prediction[:, self.layout.quality_channel]                # [B, N]
        classes = prediction[:, self.layout.detection_channels]             # [B, D, N]
        with torch.no_grad():
            scores = (quality.sigmoid()[:, None] * classes.sigmoid()).sqrt()
        positive = targets.positive & targets.has_boxes[:, None]
        match = assign(scores, predicted.detach(), targets.boxes, targets.class_indices,
                       positive, points, strides)
        counted = self._counted_cells(match, targets, points)               # [B, N]

        quality_target = torch.zeros_like(quality)
        quality_target[match.sample, match.cell] = match.iou
        class_target = torch.zeros_like(classes)
        class_target[match.sample, targets.class_indices[match.sample, match.box],
                     match.cell] = match.iou
        found = self._mean_count(positive.new_tensor(len(match.cell), dtype=torch.float32))
        box = generalized_box_iou_loss(predicted[match.sample, match.cell],
                                       targets.boxes[match.sample, match.box], reduction='sum')
        return {
            'box': box / found,
            'quality': (quality_focal_loss(quality, quality_target) * counted).sum() / found,
            'detection': (quality_focal_loss(classes, class_target)
                          * counted[:, None]).sum() / found,
        }

    @staticmethod
    def _counted_cells(match: Assignment, targets: Targets, points: torch.Tensor) -> torch.Tensor:
        ignored = (targets.boxes * targets.ignored[..., None])[:, :, None]  # [B, M, 1, 4]
        covered = ((points > ignored[..., :2]) & (points < ignored[..., 2:])).all(dim=-1)
        counted = ~covered.any(dim=1) & targets.has_boxes[:, None]
        counted[match.sample, match.cell] = True
        return counted

    def _segmentation(self, prediction, masks, height, width):
        stride = self.strides[0]
        rows, columns = height // stride, width // stride
        logits = prediction[:, self.layout.segmentation_channels, :rows * columns]
        logits = logits.reshape(len(logits), -1, rows, columns)
        logits = F.interpolate(logits, size=masks.shape[-2:], mode='bilinear',
                               align_corners=False)
        masks = masks.long()
        labelled = self._mean_count((masks != UNLABELLED).sum())
        entropy = F.cross_entropy(logits, masks, ignore_index=UNLABELLED, reduction='sum')
        return {'segmentation': entropy / labelled, 'dice': dice_loss(logits, masks)}

    def _classification(self, prediction, image_classes, height, width):
        cells = (height // self.strides[-1]) * (width // self.strides[-1])
        logits = prediction[:, self.layout.classification_channels, -cells:].mean(dim=2)
        labelled = self._mean_count((image_classes != NO_CLASS).sum())
        return F.cross_entropy(logits, image_classes, ignore_index=NO_CLASS,
                               reduction='sum') / labelled
