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

from functools import lru_cache
import math
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
# Blocks of a mask that are worked on at once: all between two classes in a frame of rooms, and
# some megabytes where every cell says another class.
BLOCKS_AT_ONCE = 512
# What is kept for a size is some megabytes; cameras have a few sizes, folders of pictures many.
KEPT_SIZES = 8


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


def _winners(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """
    Return the id of the largest value of each place, uint8 ``[...]``.

    Of equals the last; 0 where a value is no number.

    :param values: float ``[K, ...]``
    :param ids: uint8 ``[K]``
    """
    # Not with argmax: along the first axis it is ten times as slow.
    column = ids.reshape(-1, *[1] * (values.ndim - 1))
    return ((values == values.max(axis=0)) * column).max(axis=0)


def _interpolated(corners: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """
    Return the values between four corners, float32 ``[K, S, S, B]``: right, then down.

    :param corners: float32 ``[K, 4, B]``: top left, top right, bottom left, bottom right
    :param steps: float32 ``[S]``, from 0 at a corner to 1 at the next
    """
    left, right = corners[:, [0, 2], None], corners[:, [1, 3], None]
    top, bottom = np.moveaxis(left + (right - left) * steps[:, None], 1, 0)
    result = (bottom - top)[:, :, None] * steps[:, None]
    result += top[:, :, None]
    return result


@lru_cache(maxsize=KEPT_SIZES)
def _corners(rows: int, columns: int) -> np.ndarray:
    """
    Return the cells around each block of pixels between cell centres, int64 ``[4, blocks]``.

    Top left, top right, bottom left, bottom right; the blocks are column by column, and at the
    rim two corners or all are the same cell.
    """
    cells = np.pad(np.arange(rows * columns).reshape(rows, columns), 1, mode='edge').T
    return np.stack([cells[:-1, :-1], cells[1:, :-1], cells[:-1, 1:], cells[1:, 1:]]
                    ).reshape(4, -1)


@lru_cache(maxsize=2 * KEPT_SIZES)
def _nearest(content: int, source: int) -> np.ndarray:
    """Return for each of ``source`` pixels that of ``content`` pixels under its centre, int64."""
    return cv2.resize(np.arange(content, dtype=np.float32)[None], (source, 1),
                      interpolation=cv2.INTER_NEAREST_EXACT)[0].astype(np.int64)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))


def _logit_below(probability: float) -> float:
    """Return a logit that is a little less than that of any probability from this one on."""
    if probability < 1e-20:
        return -math.inf
    probability = min(probability, 1.0 - 1e-6)
    return math.log(probability / (1.0 - probability)) - 1e-3


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
        self._steps = (np.arange(self._stride, dtype=np.float32) + 0.5) / self._stride
        self._mask_ids = np.arange(card.layout.segmentation, dtype=np.uint8)
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
        quality = prediction[layout.quality_channel]
        # The score is at most the root of the quality: most cells need no scores at all.
        cells = np.flatnonzero(quality >= _logit_below(settings.score_threshold ** 2))
        logits = prediction[layout.detection_channels, cells]
        classes = logits.argmax(axis=0)
        scores = np.sqrt(_sigmoid(quality[cells]) * _sigmoid(logits.max(axis=0)))
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
        are smooth; ids are repeated for the source's pixels, which costs no mIoU. Where the four
        cells around say the same class there is nothing to interpolate: it wins between them too.
        In a typical frame that leaves one block of pixels in twenty.
        """
        stride = self._stride
        rows = -(-transform.content_height // stride)
        columns = -(-transform.content_width // stride)
        cells = self._grid[0] * self._grid[1]
        # Cells that lie wholly in the border say nothing about the picture.
        logits = np.ascontiguousarray(prediction[self._layout.segmentation_channels, :cells]
                                      .reshape(-1, *self._grid)[:, :rows, :columns])
        logits = logits.reshape(len(logits), -1)
        corners = _corners(rows, columns)
        winners = _winners(logits, self._mask_ids).take(corners)
        # Columns first until the end: NumPy and OpenCV repeat rows fast and pixels slowly.
        blocks = winners[0].reshape(columns + 1, rows + 1)
        ids = blocks.repeat(stride, axis=1).repeat(stride, axis=0)
        pixels = ids.reshape(columns + 1, stride, rows + 1, stride)
        undecided = np.flatnonzero((winners[1:] != winners[0]).any(axis=0))
        for start in range(0, len(undecided), BLOCKS_AT_ONCE):
            part = undecided[start:start + BLOCKS_AT_ONCE]
            classes = np.flatnonzero(np.bincount(winners[:, part].ravel()))
            between = _interpolated(logits[classes].take(corners[:, part], axis=1), self._steps)
            column, row = np.divmod(part, rows + 1)
            pixels[column, :, row, :] = np.moveaxis(
                _winners(between, self._mask_ids[classes]), 2, 0)
        # The blocks begin half a cell outside the picture.
        x = _nearest(transform.content_width, transform.source_width) + stride // 2
        y = _nearest(transform.content_height, transform.source_height) + stride // 2
        return cv2.transpose(ids.take(x, axis=0)).take(y, axis=0)

    def class_probabilities(self, prediction: np.ndarray) -> np.ndarray:
        """Return the softmax of the coarsest level's mean class logits, float32 ``[K]``."""
        logits = prediction[self._layout.classification_channels,
                            -self._pooled_cells:].mean(axis=1)
        exponentials = np.exp(logits - logits.max())
        return (exponentials / exponentials.sum()).astype(np.float32)
