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
"""The figures of the three tasks, over sets of frames; thin over faster-coco-eval."""

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

from faster_coco_eval import COCO, COCOeval_faster, mask as coco_mask
from mtl_perception.prediction import Detections, UNLABELLED
import numpy as np

SIZES = ('all', 'small', 'medium', 'large')
"""COCO's, by the area of an object's box in source pixels: below 32 * 32, to 96 * 96, above."""

MAX_DETECTIONS = 100
"""Of a frame, as in COCO's mAP."""


@dataclass(frozen=True, eq=False)
class Objects:
    """
    The labelled objects of one frame.

    :param boxes: float ``[M, 4]`` xyxy pixels
    :param class_ids: int ``[M]`` from 1
    :param difficult: bool ``[M]``, neither asked for nor punished
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    difficult: np.ndarray


def mean_of_known(values: Sequence[float]) -> float:
    """Return the mean of the values that are numbers; nan if none is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """
    The precision-recall curves of a set of frames, and their means.

    :param curves: float64 ``[10, 101, D, 4]``, precision at IoU 0.50, 0.55 ... 0.95, at recall
        0, 0.01 ... 1, of each class, for objects of each of ``SIZES``; nan where there are none
    """

    curves: np.ndarray

    def of_classes(self, size: str = 'all') -> np.ndarray:
        """Return AP at IoU 0.50 to 0.95 of each class, float64 ``[D]``."""
        return self.curves[..., SIZES.index(size)].mean(axis=(0, 1))

    def of_classes_at_50(self, size: str = 'all') -> np.ndarray:
        """Return AP at IoU 0.50 of each class, float64 ``[D]``."""
        return self.curves[0, :, :, SIZES.index(size)].mean(axis=0)

    def mean(self, size: str = 'all') -> float:
        """Return mAP at IoU 0.50 to 0.95; nan where no class has an object."""
        return mean_of_known(self.of_classes(size))

    def mean_at_50(self, size: str = 'all') -> float:
        """Return mAP at IoU 0.50; nan where no class has an object."""
        return mean_of_known(self.of_classes_at_50(size))


def _boxes_to_coco(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


class DetectionMatches:
    """
    Which objects the detections of each frame find, decided once by faster-coco-eval.

    :param truths: of each frame, at least one
    :param found: in each frame, at most 100 count
    :param classes: number of detection classes
    """

    def __init__(self, truths: Sequence[Objects], found: Sequence[Detections], classes: int):
        annotations, rows = [], []
        for image_id, (truth, detections) in enumerate(zip(truths, found), start=1):
            for box, class_id, difficult in zip(_boxes_to_coco(truth.boxes), truth.class_ids,
                                                truth.difficult):
                annotations.append({'id': len(annotations) + 1, 'image_id': image_id,
                                    'category_id': int(class_id), 'bbox': box.tolist(),
                                    'area': float(box[2] * box[3]), 'iscrowd': int(difficult)})
            rows.append(np.concatenate([
                np.full((len(detections), 1), image_id), _boxes_to_coco(detections.boxes),
                detections.scores[:, None], detections.class_ids[:, None]], axis=1))
        truth_set = COCO({
            'info': {}, 'images': [{'id': index + 1} for index in range(len(truths))],
            'annotations': annotations,
            'categories': [{'id': index + 1, 'name': str(index + 1)}
                           for index in range(classes)]})
        self._evaluation = COCOeval_faster(
            truth_set, truth_set.loadRes(np.concatenate(rows)), iouType='bbox',
            print_function=_say_nothing, separate_eval=True)
        self._evaluation.params.maxDets = [MAX_DETECTIONS]
        self._evaluation.evaluate()
        matches = np.empty(classes * len(SIZES) * len(truths), object)
        matches[:] = self._evaluation._evalImgs_cpp
        self._matches = matches.reshape(classes, len(SIZES), len(truths))

    def average_precision(self, frames: Optional[np.ndarray] = None) -> AveragePrecision:
        """
        Return the average precision over all frames, or over some.

        :param frames: int ``[F]`` indices, as many as there are frames; one that is drawn twice
            counts twice
        """
        matches = self._matches if frames is None else self._matches[:, :, frames]
        self._evaluation._evalImgs_cpp = matches.ravel().tolist()
        self._evaluation.accumulate()
        curves = self._evaluation.eval['precision'][..., 0]
        return AveragePrecision(np.where(curves < 0, np.nan, curves))


def average_precision(truths: Sequence[Objects], found: Sequence[Detections],
                      classes: int) -> AveragePrecision:
    """
    Return COCO's average precision.

    :param truths: of each frame, at least one
    :param found: in each frame, at most 100 count
    :param classes: number of detection classes
    """
    return DetectionMatches(truths, found, classes).average_precision()


def _say_nothing(*_) -> None:
    pass


def detection_confusion(truth: Objects, found: Detections, classes: int, min_score: float = 0.3,
                        min_iou: float = 0.5) -> np.ndarray:
    """
    Return how often objects of each class (row) were found as each class (column).

    The best detection takes the object that it covers best, whatever the classes, then the next
    does. Index 0 is none: column 0 counts objects that no detection took, row 0 detections that
    took no object. Difficult objects and what takes them are left out.

    :param truth: of one frame
    :param found: in it
    :param classes: number of detection classes
    :param min_score: of detections that count
    :param min_iou: of a detection with the object that it takes
    :return: int64 ``[D + 1, D + 1]``
    """
    order = np.argsort(-found.scores, kind='stable')
    order = order[found.scores[order] >= min_score]
    true_ids = np.append(truth.class_ids, 0).astype(np.int64)
    difficult = np.append(truth.difficult, False)
    none = len(truth.boxes)
    overlaps = np.zeros((len(order), none))
    if overlaps.size:
        overlaps[:] = coco_mask.iou(_boxes_to_coco(found.boxes[order]),
                                    _boxes_to_coco(truth.boxes), [0] * none)
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    free = ~difficult
    for index, overlap in zip(order, overlaps):
        taken = none
        # An ordinary object comes before a difficult one, which any number may take.
        for candidates in (free[:-1], difficult[:-1]):
            allowed = np.where(candidates & (overlap >= min_iou), overlap, 0.0)
            if taken == none and allowed.any():
                taken = int(allowed.argmax())
        if not difficult[taken]:
            matrix[true_ids[taken], found.class_ids[index]] += 1
        free[taken] = False
    for class_id in true_ids[:-1][free[:-1]]:
        matrix[class_id, 0] += 1
    return matrix


def detection_f1(matrix: np.ndarray) -> float:
    """
    Return the harmonic mean of precision and recall; nan where nothing is there or found.

    :param matrix: ``[D + 1, D + 1]`` of :func:`detection_confusion`
    """
    total = matrix[1:].sum() + matrix[:, 1:].sum()
    return float(2.0 * np.trace(matrix[1:, 1:]) / total) if total else float('nan')


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """
    Return how many pixels of each true class (row) were given each class (column).

    :param truth: uint8 ``[H, W]``, 255 pixels are left out
    :param predicted: uint8 ``[H, W]``, ids below ``classes``
    :return: int64 ``[classes, classes]``
    """
    labelled = truth != UNLABELLED
    pairs = truth[labelled].astype(np.int64) * classes + predicted[labelled]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def intersection_over_union(matrix: np.ndarray) -> np.ndarray:
    """
    Return the IoU of each class, 0 to 1; nan for a class neither there nor predicted.

    :param matrix: ``[..., S, S]`` confusion
    """
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    union = matrix.sum(axis=-1) + matrix.sum(axis=-2) - hits
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)


def mean_iou(matrix: np.ndarray) -> float:
    """Return the mean IoU, background included, of a ``[S, S]`` confusion; nan if it is empty."""
    return mean_of_known(intersection_over_union(matrix))


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> Tuple[float, float]:
    """
    Return the share of right answers, and its mean over the classes that occur.

    :param truth: int ``[F]``
    :param predicted: int ``[F]``
    :return: top-1 and macro accuracy, 0 to 1; nan where ``F`` is 0
    """
    if not len(truth):
        return float('nan'), float('nan')
    right = truth == predicted
    return float(right.mean()), float(np.mean([right[truth == value].mean()
                                               for value in np.unique(truth)]))
