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

from faster_coco_eval import COCO, COCOeval_faster
from mtl_perception.metrics import (
    accuracy, average_precision, confusion_matrix, detection_confusion, detection_f1,
    DetectionMatches, intersection_over_union, mean_iou, Objects, SIZES)
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


def both(truths, found):
    """Return mAP at IoU 0.50 to 0.95 and at 0.50."""
    precision = average_precision(truths, found, CLASSES)
    return precision.mean(), precision.mean_at_50()


def guesses(truths, rng):
    """Return detections that are near the truth, beside it or of another class."""
    found = []
    for truth in truths:
        shifted = truth.boxes + rng.normal(0, 2, truth.boxes.shape).astype(np.float32)
        shifted = np.concatenate([np.minimum(shifted[:, :2], shifted[:, 2:] - 1), shifted[:, 2:]],
                                 axis=1)
        extra = random_objects(rng, 3)
        class_ids = np.where(rng.random(len(truth.boxes)) < 0.8, truth.class_ids,
                             truth.class_ids % CLASSES + 1)
        boxes = np.concatenate([shifted, extra.boxes])
        scores = np.sort(rng.random(len(boxes)))[::-1].astype(np.float32)
        found.append(Detections(boxes, scores, np.concatenate([class_ids, extra.class_ids])))
    return found


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
    precision = average_precision(truths, [as_found(truth) for truth in truths], CLASSES)
    assert precision.mean() == precision.mean_at_50() == 1.0
    assert precision.of_classes().tolist() == [1.0] * CLASSES
    assert precision.of_classes_at_50().tolist() == [1.0] * CLASSES
    assert [precision.mean(size) for size in ('small', 'medium')] == [1.0, 1.0]
    assert np.isnan(precision.mean('large'))


def test_the_figures_are_the_librarys(truths):
    """What is computed here from its curves is what it would print itself."""
    found = guesses(truths, np.random.default_rng(3))
    precision = average_precision(truths, found, CLASSES)
    annotations, rows = [], []
    for image_id, (truth, detections) in enumerate(zip(truths, found)):
        for (left, top, right, bottom), class_id in zip(truth.boxes.tolist(), truth.class_ids):
            annotations.append({
                'id': len(annotations) + 1, 'image_id': image_id, 'category_id': int(class_id),
                'bbox': [left, top, right - left, bottom - top], 'iscrowd': 0,
                'area': (right - left) * (bottom - top)})
        for (left, top, right, bottom), score, class_id in zip(
                detections.boxes.tolist(), detections.scores, detections.class_ids):
            rows.append([image_id, left, top, right - left, bottom - top, score, class_id])
    truth_set = COCO({'info': {}, 'images': [{'id': index} for index in range(len(truths))],
                      'annotations': annotations,
                      'categories': [{'id': index + 1} for index in range(CLASSES)]})
    library = COCOeval_faster(truth_set, truth_set.loadRes(np.array(rows)), iouType='bbox')
    library.run()
    whole, half, _, small, medium, _ = library.stats[:6]
    assert 0.1 < small < medium < 0.9
    assert [precision.mean(), precision.mean_at_50(), precision.mean('small'),
            precision.mean('medium')] == pytest.approx([whole, half, small, medium], abs=1e-12)


def test_a_draw_of_frames_is_scored_as_those_frames_would_be(truths):
    """A bootstrap draw needs no second matching, and frames drawn twice count twice."""
    found = guesses(truths, np.random.default_rng(4))
    matches = DetectionMatches(truths, found, CLASSES)
    whole = matches.average_precision().mean()
    for seed in range(3):
        picks = np.random.default_rng(seed).integers(len(truths), size=len(truths))
        anew = average_precision([truths[index] for index in picks],
                                 [found[index] for index in picks], CLASSES)
        np.testing.assert_array_equal(matches.average_precision(picks).curves, anew.curves)
        assert anew.mean() != whole
    assert matches.average_precision().mean() == whole


def test_sizes_and_classes_are_told_apart():
    """Of three classes, one object each, only the medium one is found."""
    boxes = np.array([[0, 0, 20, 20], [50, 50, 110, 110], [200, 200, 400, 400]], np.float32)
    truth = Objects(boxes, np.array([1, 2, 3]), np.zeros(3, bool))
    found = Detections(boxes[1:2], np.ones(1, np.float32), np.array([2]))
    precision = average_precision([truth], [found], 4)
    assert [precision.mean(size) for size in SIZES] == pytest.approx([1 / 3, 0.0, 1.0, 0.0])
    np.testing.assert_array_equal(precision.of_classes(), [0.0, 1.0, 0.0, np.nan])
    np.testing.assert_array_equal(precision.of_classes_at_50('small'),
                                  [0.0, np.nan, np.nan, np.nan])


def test_duplicates_never_raise_any_figure():
    """Where objects do not overlap, a second answer to one can only cost."""
    rng = np.random.default_rng(5)
    truths = []
    for _ in range(15):
        corner = 60.0 * np.stack(np.divmod(rng.permutation(9)[:5], 3), axis=1)
        truths.append(Objects(
            np.concatenate([corner, corner + rng.uniform(15, 55, (5, 2))], axis=1),
            rng.integers(1, CLASSES + 1, 5), np.zeros(5, bool)))
    found = guesses(truths, rng)
    doubled = [Detections(*(np.repeat(part, 2, axis=0) for part in
                            (one.boxes, one.scores, one.class_ids))) for one in found]
    once = average_precision(truths, found, CLASSES)
    twice = average_precision(truths, doubled, CLASSES)
    assert twice.mean() < once.mean()
    for size in ('all', 'small', 'medium'):
        assert (twice.of_classes(size) <= once.of_classes(size)).all()
        assert (twice.of_classes_at_50(size) <= once.of_classes_at_50(size)).all()


def test_duplicated_boxes_never_gain(truths):
    """Each object answered three times cannot exceed 1, and costs precision where it competes."""
    tripled = []
    for truth in truths:
        again = Objects(*(np.concatenate([part] * 3) for part in
                          (truth.boxes, truth.class_ids, truth.difficult)))
        tripled.append(as_found(again))
    whole, half = both(truths, tripled)
    assert 0.0 < whole <= half + 1e-12 < 1.0


def test_nothing_found_is_zero_and_nothing_to_find_is_no_number(truths):
    """The two must not be mixed up."""
    assert both(truths, [nothing() for _ in truths]) == (0.0, 0.0)
    assert np.isnan(both(truths[:2], [nothing()] * 2)).all()


def test_random_boxes_are_near_zero(truths):
    """Luck is worth next to nothing."""
    rng = np.random.default_rng(1)
    found = [as_found(random_objects(rng, 20), rng.random(20)) for _ in truths]
    whole, half = both(truths, found)
    assert whole < 0.02
    assert half < 0.05


def test_a_wrong_class_is_wrong(truths):
    """Right boxes under the next class's name find nothing."""
    found = [as_found(Objects(truth.boxes, truth.class_ids % CLASSES + 1, truth.difficult))
             for truth in truths]
    assert both(truths, found)[1] < 0.1


def test_shifted_boxes_lose_the_strict_thresholds():
    """An IoU of 9/11 = 0.818 passes the seven thresholds from 0.50 to 0.80 and fails three."""
    truth = Objects(np.array([[0, 0, 100, 100]], np.float32), np.array([1]), np.array([False]))
    found = Detections(np.array([[10, 0, 110, 100]], np.float32), np.ones(1, np.float32),
                       np.array([1]))
    whole, half = both([truth], [found])
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
    assert both([truth], [found]) == (1.0, 1.0)


def test_order_of_frames_does_not_matter(truths):
    """The figures are of the set."""
    rng = np.random.default_rng(2)
    found = [as_found(random_objects(rng, 10), rng.random(10)) for _ in truths]
    found[5:] = [as_found(truth) for truth in truths[5:]]
    assert both(truths[::-1], found[::-1]) == pytest.approx(both(truths, found))


LEFT, RIGHT, AWAY = [0, 0, 40, 40], [60, 0, 100, 40], [200, 200, 240, 240]
NEAR_LEFT = [5, 0, 45, 40]


@pytest.mark.parametrize('found, expected', (
    ([(LEFT, 1, 0.9), (RIGHT, 2, 0.8)], {(1, 1): 1, (2, 2): 1}),
    ([(LEFT, 3, 0.9), (RIGHT, 2, 0.8)], {(1, 3): 1, (2, 2): 1}),
    ([(LEFT, 1, 0.9)], {(1, 1): 1, (2, 0): 1}),
    ([(LEFT, 1, 0.9), (RIGHT, 2, 0.2)], {(1, 1): 1, (2, 0): 1}),
    ([(AWAY, 3, 0.9)], {(0, 3): 1, (1, 0): 1, (2, 0): 1}),
    ([(LEFT, 1, 0.5), (NEAR_LEFT, 3, 0.9)], {(1, 3): 1, (0, 1): 1, (2, 0): 1}),
    ([], {(1, 0): 1, (2, 0): 1})),
    ids=('right', 'wrong class', 'missed', 'unsure', 'beside', 'surer one first', 'nothing'))
def test_detection_confusion_of_known_boxes(found, expected):
    """Rows are truth, columns answers; 0 is none."""
    truth = Objects(np.array([LEFT, RIGHT], np.float32), np.array([1, 2]), np.zeros(2, bool))
    boxes = np.array([box for box, _, _ in found], np.float32).reshape(-1, 4)
    detections = Detections(boxes, np.array([score for _, _, score in found], np.float32),
                            np.array([class_id for _, class_id, _ in found], np.int64))
    matrix = detection_confusion(truth, detections, CLASSES)
    assert {(int(row), int(column)): int(matrix[row, column])
            for row, column in zip(*matrix.nonzero())} == expected


def test_difficult_objects_are_not_in_the_confusion():
    """Found, found twice or missed: an empty matrix, and no F1."""
    truth = Objects(np.array([LEFT], np.float32), np.array([1]), np.array([True]))
    for boxes in ([], [LEFT], [LEFT, NEAR_LEFT]):
        found = as_found(Objects(np.array(boxes, np.float32).reshape(-1, 4),
                                 np.ones(len(boxes), np.int64), None))
        matrix = detection_confusion(truth, found, CLASSES)
        assert not matrix.any()
        assert np.isnan(detection_f1(matrix))


def test_f1_of_truth_is_one_and_of_half_of_it_two_thirds():
    """Precision 1 and recall 1/2."""
    truth = Objects(np.array([LEFT, RIGHT], np.float32), np.array([1, 2]), np.zeros(2, bool))
    half = Objects(truth.boxes[:1], truth.class_ids[:1], truth.difficult[:1])
    assert detection_f1(detection_confusion(truth, as_found(truth), CLASSES)) == 1.0
    assert detection_f1(detection_confusion(truth, as_found(half), CLASSES)
                        ) == pytest.approx(2 / 3)


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
