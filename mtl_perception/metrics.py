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
from typing import Sequence, Tuple

from faster_coco_eval import COCO, COCOeval_faster
from mtl_perception.prediction import Detections, UNLABELLED
import numpy as np


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


def _boxes_to_coco(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def average_precision(truths: Sequence[Objects], found: Sequence[Detections],
                      classes: int) -> Tuple[float, float]:
    """
    Return COCO's mAP at IoU 0.50 to 0.95 and at 0.50, each 0 to 1.

    The mean runs over the classes that have objects; nan where none has.

    :param truths: of each frame
    :param found: in each frame, at most 100 count
    :param classes: number of detection classes
    """
    annotations, rows = [], []
    for image_id, (truth, detections) in enumerate(zip(truths, found), start=1):
        sides = _boxes_to_coco(np.asarray(truth.boxes, np.float64).reshape(-1, 4))
        for box, class_id, difficult in zip(sides, truth.class_ids, truth.difficult):
            annotations.append({'id': len(annotations) + 1, 'image_id': image_id,
                                'category_id': int(class_id), 'bbox': box.tolist(),
                                'area': float(box[2] * box[3]), 'iscrowd': int(difficult)})
        count = len(detections)
        rows.append(np.concatenate([
            np.full((count, 1), image_id),
            _boxes_to_coco(np.asarray(detections.boxes, np.float64)),
            np.asarray(detections.scores, np.float64)[:, None],
            np.asarray(detections.class_ids)[:, None]], axis=1))
    if not any(not annotation['iscrowd'] for annotation in annotations):
        return float('nan'), float('nan')
    rows = np.concatenate(rows)
    if not len(rows):
        return 0.0, 0.0
    truth_set = COCO({
        'info': {}, 'images': [{'id': index + 1} for index in range(len(truths))],
        'annotations': annotations,
        'categories': [{'id': index + 1, 'name': str(index + 1)} for index in range(classes)]})
    evaluation = COCOeval_faster(truth_set, truth_set.loadRes(rows), iouType='bbox',
                                 print_function=_say_nothing)
    evaluation.run()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def _say_nothing(*_) -> None:
    pass


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
    values = intersection_over_union(matrix)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')


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
