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
"""The one place that turns the prediction tensor into boxes, a mask and a class."""

from typing import NamedTuple, Optional, Tuple

import cv2
from mtl_perception.card import Card
from mtl_perception.config import InferenceSettings
from mtl_perception.prediction import Detections
from mtl_perception.preprocess import LetterboxTransform
import numpy as np

# Non-maximum suppression is quadratic: what scores below the best thousand cannot matter much.
MAX_CANDIDATES = 1000
# Boxes of one class that overlap by this much speak of one object; found on validation frames.
VOTING_IOU = 0.7


class Heads(NamedTuple):
    """What ``Postprocessor`` returns; None where a head is off."""

    detections: Optional[Detections]
    mask: Optional[np.ndarray]
    class_probabilities: Optional[np.ndarray]


def cell_centres(height: int, width: int, strides: Tuple[int, ...]
                 ) -> Tuple[np.ndarray, np.ndarray]:
    """
    Return the centre and the stride of every cell of the prediction tensor.

    :param height: rows of the network's picture
    :param width: columns of the network's picture
    :param strides: of the levels, finest first
    :return: float32 ``[N, 2]`` (x, y) in network pixels, float32 ``[N]``
    """
    centres, sizes = [], []
    for stride in strides:
        rows, columns = np.mgrid[:height // stride, :width // stride]
        centres.append((np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5) * stride)
        sizes.append(np.full(rows.size, stride))
    return np.concatenate(centres).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def ltrb_to_xyxy(x, y, stride, left, top, right, bottom):
    """
    Return the box edges ``x_min, y_min, x_max, y_max`` of distances from cell centres.

    Plain arithmetic, so that NumPy arrays and torch tensors decode alike (FCOS, Tian et al.
    2019, arXiv:1904.01355).

    :param x, y: cell centres in pixels
    :param stride: pixels per unit of distance
    :param left, top, right, bottom: distances in strides, at least 0
    """
    return x - left * stride, y - top * stride, x + right * stride, y + bottom * stride


def _suppress(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Return the boxes that no better one overlaps by more, best first, int64 ``[K]``."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    corners_and_sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(corners_and_sizes, scores.astype(np.float32), 0.0, iou_threshold)
    kept = np.asarray(kept, np.int64).reshape(-1)
    return kept[np.argsort(-scores[kept], kind='stable')]


def _votes(boxes: np.ndarray, scores: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """
    Return the weight of each box in each kept one, float64 ``[K, N]``, rows sum to 1.

    Neighbouring cells see an object's edges each with its own error, and their mean is nearer to
    the edges than the surest one alone (box voting: Gidaris and Komodakis 2015,
    arXiv:1505.01749).

    :param boxes: float64 ``[N, 4]`` xyxy, none empty
    :param scores: float ``[N]``, above 0 of those that are kept
    :param kept: int ``[K]``, positions of those that non-maximum suppression left
    """
    best = boxes[kept, None]
    sides = np.minimum(best[..., 2:], boxes[:, 2:]) - np.maximum(best[..., :2], boxes[:, :2])
    shared = sides.clip(min=0.0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    iou = shared / (areas[kept, None] + areas - shared)
    weights = np.where(iou >= VOTING_IOU, scores, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _enlarged(cells: np.ndarray, factor: int) -> np.ndarray:
    """Return float32 ``[H, W]`` interpolated to ``factor`` pixels a cell."""
    return cv2.resize(cells, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))


class Postprocessor:
    """
    Decode the heads of one checkpoint.

    :param card: of the checkpoint: layout, strides and input size
    """

    def __init__(self, card: Card):
        """Prepare the cell grid."""
        self._layout = card.layout
        self._grid = (card.input.height // card.architecture.strides[0],
                      card.input.width // card.architecture.strides[0])
        self._stride = card.architecture.strides[0]
        coarsest = card.architecture.strides[-1]
        self._pooled_cells = (card.input.height // coarsest) * (card.input.width // coarsest)
        self._centres, self._strides = cell_centres(
            card.input.height, card.input.width, card.architecture.strides)

    def __call__(self, prediction: np.ndarray, transform: LetterboxTransform,
                 settings: InferenceSettings) -> Heads:
        """
        Return the answers of the heads that ``settings`` has on, in source pixels.

        :param prediction: float32 ``[C, N]``, one picture's prediction tensor
        :param transform: the letterbox geometry of that picture
        :param settings: thresholds and switches
        """
        return Heads(
            self.detections(prediction, transform, settings) if settings.detection else None,
            self.mask(prediction, transform) if settings.segmentation else None,
            self.class_probabilities(prediction) if settings.classification else None)

    def detections(self, prediction: np.ndarray, transform: LetterboxTransform,
                   settings: InferenceSettings) -> Detections:
        """
        Return the boxes that stay after threshold and per-class non-maximum suppression.

        A cell says its most probable class (second guesses cost more precision than they bring
        recall); its score is the geometric mean of class and quality probability. A box that
        stays is moved to the weighted mean of those that it stands for.
        """
        layout = self._layout
        quality = _sigmoid(prediction[layout.quality_channel])
        # The score is at most the root of the quality: most cells need no class scores at all.
        cells = np.flatnonzero(quality >= settings.score_threshold ** 2)
        logits = prediction[layout.detection_channels, cells]
        classes = logits.argmax(axis=0)
        scores = np.sqrt(quality[cells] * _sigmoid(logits.max(axis=0)))
        sure = scores >= settings.score_threshold
        cells, classes, scores = cells[sure], classes[sure], scores[sure]
        if len(scores) > MAX_CANDIDATES:
            best = np.argpartition(-scores, MAX_CANDIDATES)[:MAX_CANDIDATES]
            classes, cells, scores = classes[best], cells[best], scores[best]
        boxes = np.stack(ltrb_to_xyxy(
            *self._centres[cells].T, self._strides[cells],
            *prediction[layout.distance_channels, cells]), axis=1)
        boxes = transform.boxes_to_source(boxes)
        solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, classes, scores = boxes[solid], classes[solid], scores[solid]
        # Each class in an area of its own: boxes of different classes never overlap.
        # (NMSBoxesBatched does this itself, but Humble's OpenCV 4.5 lacks it.)
        side = max(transform.source_width, transform.source_height) + 1.0
        apart = boxes + side * classes[:, None]
        kept = _suppress(apart, scores, settings.nms_iou_threshold)[:settings.max_detections]
        # Not with @: the last bits of its sums depend on the number of threads.
        boxes = np.einsum('kn,nc->kc', _votes(apart, scores, kept), boxes)
        return Detections(boxes.astype(np.float32), scores[kept].astype(np.float32),
                          classes[kept].astype(np.int64) + 1)

    def mask(self, prediction: np.ndarray, transform: LetterboxTransform) -> np.ndarray:
        """
        Return the class ids of the source picture's pixels, uint8 ``[H, W]``.

        The logits are interpolated to the network's pixels before the best is taken, so edges
        are smooth; ids are repeated for the source's pixels, which costs no mIoU. A class is
        interpolated only around the coarse cells that it wins: in a typical frame a handful of
        21, each in a small window.
        """
        stride = self._stride
        rows = -(-transform.content_height // stride)
        columns = -(-transform.content_width // stride)
        cells = self._grid[0] * self._grid[1]
        # Cells that lie wholly in the border say nothing about the picture.
        logits = np.ascontiguousarray(prediction[self._layout.segmentation_channels, :cells]
                                      .reshape(-1, *self._grid)[:, :rows, :columns])
        wins = logits == logits.max(axis=0)
        counts = np.count_nonzero(wins, axis=(1, 2))
        first, *others = sorted(np.flatnonzero(counts).tolist(), key=lambda index: -counts[index])
        mask = np.full((rows * stride, columns * stride), first, np.uint8)
        best = _enlarged(logits[first], stride)
        for class_id in others:
            x, y, width, height = cv2.boundingRect(wins[class_id].view(np.uint8))
            # A cell around, where interpolation can let it win, and one more to interpolate from.
            left, top, outer_left, outer_top = (max(0, at) for at in (x - 1, y - 1, x - 2, y - 2))
            right, bottom = min(columns, x + width + 1), min(rows, y + height + 1)
            outer = logits[class_id, outer_top:bottom + 1, outer_left:right + 1]
            scaled = _enlarged(outer, stride)
            scaled = scaled[(top - outer_top) * stride:, (left - outer_left) * stride:][
                :(bottom - top) * stride, :(right - left) * stride]
            window = np.s_[top * stride:bottom * stride, left * stride:right * stride]
            # Not mask[window][scaled > best[window]]: 80 times as slow.
            cv2.copyTo(np.full(scaled.shape, class_id, np.uint8),
                       cv2.compare(scaled, best[window], cv2.CMP_GT), mask[window])
            np.maximum(scaled, best[window], out=best[window])
        content = mask[:transform.content_height, :transform.content_width]
        size = (transform.source_width, transform.source_height)
        return cv2.resize(content, size, interpolation=cv2.INTER_NEAREST_EXACT)

    def class_probabilities(self, prediction: np.ndarray) -> np.ndarray:
        """Return the softmax of the coarsest level's mean class logits, float32 ``[K]``."""
        logits = prediction[self._layout.classification_channels,
                            -self._pooled_cells:].mean(axis=1)
        exponentials = np.exp(logits - logits.max())
        return (exponentials / exponentials.sum()).astype(np.float32)
