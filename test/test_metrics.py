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
"""Figures that cannot lie: bounds, known values, and what random answers get."""

from mtl_perception.metrics import (
    accuracy, average_precision, confusion_matrix, intersection_over_union, mean_iou, Objects)
from mtl_perception.prediction import Detections
import numpy as np
import pytest

CLASSES = 3


def random_objects(rng, count):
    """Return ``count`` objects of a 200x200 picture."""
    corner = rng.uniform(0, 150, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 50, (count, 2))], axis=1)
    return Objects(boxes.astype(np.float32), rng.integers(1, CLASSES + 1, count),
                   np.zeros(count, bool))


def as_found(objects, scores=None):
    """Return the objects as detections."""
    count = len(objects.boxes)
    scores = np.ones(count) if scores is None else scores
    return Detections(objects.boxes, np.asarray(scores, np.float32), objects.class_ids)


def nothing():
    """Return no detections."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32),
                      np.zeros(0, np.int64))


@pytest.fixture
def truths():
    """Return the objects of 20 frames, two of them empty."""
    rng = np.random.default_rng(0)
    return [random_objects(rng, count) for count in [0, 0, *rng.integers(1, 8, 18)]]


def test_truth_as_prediction_is_exactly_one(truths):
    """Neither 0.999 nor 1.150."""
    assert average_precision(truths, [as_found(truth) for truth in truths], CLASSES) == (1.0, 1.0)


def test_duplicated_boxes_never_gain(truths):
    """Each object answered three times cannot exceed 1, and costs precision where it competes."""
    tripled = []
    for truth in truths:
        again = Objects(*(np.concatenate([part] * 3) for part in
                          (truth.boxes, truth.class_ids, truth.difficult)))
        tripled.append(as_found(again))
    whole, half = average_precision(truths, tripled, CLASSES)
    assert 0.0 < whole <= half < 1.0


def test_nothing_found_is_zero_and_nothing_to_find_is_no_number(truths):
    """The two must not be mixed up."""
    assert average_precision(truths, [nothing() for _ in truths], CLASSES) == (0.0, 0.0)
    assert np.isnan(average_precision(truths[:2], [nothing()] * 2, CLASSES)).all()


def test_random_boxes_are_near_zero(truths):
    """Luck is worth next to nothing."""
    rng = np.random.default_rng(1)
    found = [as_found(random_objects(rng, 20), rng.random(20)) for _ in truths]
    whole, half = average_precision(truths, found, CLASSES)
    assert whole < 0.02
    assert half < 0.05


def test_a_wrong_class_is_wrong(truths):
    """Right boxes under the next class's name find nothing."""
    found = [as_found(Objects(truth.boxes, truth.class_ids % CLASSES + 1, truth.difficult))
             for truth in truths]
    assert average_precision(truths, found, CLASSES)[1] < 0.1


def test_shifted_boxes_lose_the_strict_thresholds():
    """An IoU of 9/11 = 0.818 passes the seven thresholds from 0.50 to 0.80 and fails three."""
    truth = Objects(np.array([[0, 0, 100, 100]], np.float32), np.array([1]), np.array([False]))
    found = Detections(np.array([[10, 0, 110, 100]], np.float32), np.ones(1, np.float32),
                       np.array([1]))
    whole, half = average_precision([truth], [found], CLASSES)
    assert half == 1.0
    assert whole == pytest.approx(0.7)


@pytest.mark.parametrize('finds_it', (True, False))
def test_difficult_objects_do_not_count(finds_it):
    """Found or missed, a difficult object leaves a perfect score perfect."""
    boxes = np.array([[0, 0, 50, 50], [100, 100, 150, 150]], np.float32)
    truth = Objects(boxes, np.array([1, 1]), np.array([False, True]))
    # Sure of the difficult one: were it a false positive, precision would drop to a half.
    scores = np.array([0.5, 0.9], np.float32)
    kept = slice(0, 2 if finds_it else 1)
    found = Detections(boxes[kept], scores[kept], truth.class_ids[kept])
    assert average_precision([truth], [found], CLASSES) == (1.0, 1.0)


def test_order_of_frames_does_not_matter(truths):
    """The figures are of the set."""
    rng = np.random.default_rng(2)
    found = [as_found(random_objects(rng, 10), rng.random(10)) for _ in truths]
    found[5:] = [as_found(truth) for truth in truths[5:]]
    forward = average_precision(truths, found, CLASSES)
    assert average_precision(truths[::-1], found[::-1], CLASSES) == pytest.approx(forward)


def test_confusion_counts_pixels_and_skips_unlabelled():
    """Rows are truth, columns predictions; 255 is left out."""
    truth = np.array([[0, 1, 2], [255, 2, 2]], np.uint8)
    predicted = np.array([[0, 1, 1], [2, 2, 0]], np.uint8)
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 3),
                                  [[1, 0, 0], [0, 1, 0], [1, 1, 1]])


def test_mean_iou_of_truth_is_exactly_one_and_of_known_masks_known():
    """Half the class missed is 1/2; a class neither there nor predicted does not count."""
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    assert mean_iou(confusion_matrix(truth, truth, CLASSES)) == 1.0
    predicted = np.array([[0, 0, 0, 1]], np.uint8)
    matrix = confusion_matrix(truth, predicted, CLASSES)
    np.testing.assert_allclose(intersection_over_union(matrix), [2 / 3, 1 / 2, np.nan])
    assert mean_iou(matrix) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_mean_iou_of_random_masks_is_near_chance_and_of_nothing_no_number():
    """With ten even classes chance is 1/19."""
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 10, (2, 200, 200), np.uint8)
    assert mean_iou(confusion_matrix(truth, predicted, 10)) == pytest.approx(1 / 19, abs=0.005)
    assert np.isnan(mean_iou(np.zeros((3, 3), np.int64)))


def test_accuracy_weighs_pictures_and_macro_weighs_classes():
    """Nine of ten right, but one class always wrong: 0.9 and 0.5."""
    truth = np.array([0] * 9 + [1])
    assert accuracy(truth, np.zeros(10, int)) == (0.9, 0.5)
    assert accuracy(truth, truth) == (1.0, 1.0)
    assert np.isnan(accuracy(truth[:0], truth[:0])).all()
