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
"""How far two predictions are apart, counted by hand; and which frames are kept."""

from mtl_perception.card import ClassNames
from mtl_perception.comparison.classes import (
    common_names, only_known_to_one, shared_classes, Translation)
from mtl_perception.comparison.difference import box_score, compare, match_boxes
from mtl_perception.comparison.timeline import columns, is_timed, step_path, time_text
from mtl_perception.comparison.worst import Shown, Worst
from mtl_perception.prediction import Detections, Prediction
import numpy as np
import pytest

NAMES = ClassNames(('mug', 'bowl', 'plate'), ('background', 'mug', 'bowl', 'plate'),
                   ('kitchen', 'study'))
SHARED = shared_classes(NAMES, NAMES)


def boxes(*items):
    """Return detections of (class id, left, top, side), best first."""
    return Detections(
        np.array([(left, top, left + side, top + side) for _, left, top, side in items],
                 np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(items)).astype(np.float32),
        np.array([item[0] for item in items], np.int64))


def test_the_same_twice_is_no_difference():
    mask = np.zeros((40, 40), np.uint8)
    mask[:10, :10] = 2
    # Boxes of two classes in one place must find their own, not each other.
    found = boxes((1, 0, 0, 20), (2, 1, 0, 20), (3, 20, 20, 10))
    prediction = Prediction(found, mask, np.array([0.7, 0.3], np.float32))
    difference = compare(prediction, prediction, SHARED)
    assert difference.scores == {'boxes': 0.0, 'mask': 0.0, 'image class': 0.0}
    assert difference.score == 0.0
    assert sorted(map(tuple, difference.boxes.tolist())) == [(1, 1), (2, 2), (3, 3)]
    assert not any(lone.any() for lone in difference.lone)


@pytest.mark.parametrize('first, second, rows, score', [
    ([], [], [], 0.0),
    ([(1, 0, 0, 20)], [], [(1, 0)], 1.0),
    ([], [(1, 0, 0, 20)], [(0, 1)], 1.0),
    ([(1, 0, 0, 20)], [(2, 0, 0, 20)], [(1, 2)], 1.0),
    # IoU 15 * 20 / (25 * 20) = 0.6 is one object, 10 * 20 / (30 * 20) is not.
    ([(1, 0, 0, 20)], [(1, 5, 0, 20)], [(1, 1)], 0.0),
    ([(1, 0, 0, 20)], [(1, 10, 0, 20)], [(0, 1), (1, 0)], 1.0),
    # A box finds one partner only: F1 = 2 * 1 / 3.
    ([(1, 0, 0, 20), (1, 1, 0, 20)], [(1, 0, 0, 20)], [(1, 0), (1, 1)], 1 / 3),
    ([(1, 0, 0, 20), (2, 50, 0, 20)], [(1, 0, 0, 20), (3, 50, 0, 20)], [(1, 1), (2, 3)], 0.5),
])
def test_boxes_are_paired_one_to_one(first, second, rows, score):
    difference = compare(Prediction(boxes(*first)), Prediction(boxes(*second)), SHARED)
    assert sorted(map(tuple, difference.boxes.tolist())) == sorted(rows)
    assert difference.scores == {'boxes': pytest.approx(score)}
    agreed = sum(one == other for one, other in rows)
    assert [(~lone).sum() for lone in difference.lone] == [agreed, agreed]


def test_pairs_are_positions():
    first = boxes((1, 0, 0, 20), (2, 50, 50, 20))
    second = boxes((2, 50, 50, 20), (3, 90, 90, 9), (1, 0, 0, 20))
    assert sorted(map(tuple, match_boxes(first, second).tolist())) == [(0, 2), (1, 0)]


def test_masks_are_compared_by_class_without_background_and_stray_pixels():
    first, second = np.zeros((2, 100, 100), np.uint8)
    first[:10, :20], second[:10, 10:30] = 1, 1  # 100 shared of 300
    first[50, :5] = 2  # below a thousandth of the picture
    second[90:, :] = 255  # not labelled: left out
    first[90:, :] = 3
    difference = compare(Prediction(mask=first), Prediction(mask=second), SHARED)
    assert difference.scores == {'mask': pytest.approx(2 / 3)}
    np.testing.assert_allclose(difference.mask_iou, [np.nan, 1 / 3, np.nan, np.nan])
    assert difference.mask_confusion.sum() == 9000


def test_image_classes_are_compared_as_probabilities():
    first, second = (np.array(values, np.float32) for values in ([0.8, 0.2], [0.3, 0.7]))
    difference = compare(Prediction(class_probabilities=first),
                         Prediction(class_probabilities=second), SHARED)
    assert difference.image_classes == (0, 1)
    assert difference.scores == {'image class': pytest.approx(0.5)}


def test_what_a_side_did_not_answer_is_not_compared():
    full = Prediction(boxes((1, 0, 0, 9)), np.zeros((9, 9), np.uint8), np.ones(2, np.float32) / 2)
    assert compare(full, Prediction(boxes()), SHARED).scores == {'boxes': 1.0}
    assert np.isnan(compare(full, Prediction(), SHARED).score)


def test_other_numbers_for_the_same_names():
    other = ClassNames(('plate', 'mug', 'fork'), ('nothing', 'fork', 'mug'), ('study', 'garden'))
    names = common_names(NAMES, other)
    assert names.detection == ('mug', 'bowl', 'plate', 'fork')
    assert names.segmentation == ('background', 'mug', 'bowl', 'plate', 'fork')
    assert names.classification == ('kitchen', 'study', 'garden')
    mask = np.array([[0, 1, 2, 255]], np.uint8)
    said = Translation(other, names)(Prediction(
        boxes((1, 0, 0, 9), (2, 0, 0, 9), (3, 0, 0, 9)), mask, np.array([0.9, 0.1], np.float32)))
    assert said.detections.class_ids.tolist() == [3, 1, 4]
    assert said.mask.tolist() == [[0, 4, 1, 255]]
    np.testing.assert_allclose(said.class_probabilities, [0.0, 0.9, 0.1])
    assert only_known_to_one(NAMES, other) == (('bowl', 'kitchen'), ('fork', 'garden'))


def test_what_one_side_cannot_say_is_no_disagreement():
    other = ClassNames(('mug', 'fork'), ('background', 'mug', 'fork'), ('street',))
    shared = shared_classes(NAMES, other)
    own, theirs = Translation(NAMES, shared.names), Translation(other, shared.names)
    mask, fork = np.zeros((2, 40, 40), np.uint8)
    fork[:20] = 2
    difference = compare(
        own(Prediction(boxes((1, 0, 0, 9), (2, 20, 0, 9)), mask, np.ones(2, np.float32) / 2)),
        theirs(Prediction(boxes((1, 0, 0, 9), (2, 60, 0, 9)), fork, np.ones(1, np.float32))),
        shared)
    assert difference.scores == {'boxes': 0.0, 'mask': 0.0}
    assert len(difference.boxes) == 3 and box_score(difference.boxes, shared) == 0.0


def test_the_worst_are_kept_and_of_neighbours_one():
    worst = Worst(2, 10**9)
    offered = [(0, 10**9, 0.5), (1, 10**9 + 5, 0.4), (2, 10**9 + 9, 0.6), (3, 3 * 10**9, 0.1),
               (4, 5 * 10**9, 0.3), (5, 7 * 10**9, 0.0), (6, 9 * 10**9, float('nan'))]
    wanted = []
    for index, stamp, score in offered:
        if worst.wants(index, stamp, score):
            wanted.append(index)
            worst.keep(stamp, Shown(index, score, ()))
    assert wanted == [0, 2, 3, 4]
    assert [shown.index for shown in worst.ranked()] == [2, 4]


def test_pictures_without_a_time_are_no_neighbours():
    worst = Worst(5, 10**9)
    for index in range(3):
        assert worst.wants(index, 0, 0.5)
        worst.keep(0, Shown(index, 0.5, ()))
    assert len(worst.ranked()) == 3


class RowOf:
    """What the timeline needs of a frame."""

    def __init__(self, score, stamp_ns=0):
        self.score, self.scores, self.stamp_ns = score, (score, float('nan'), 0.0), stamp_ns


def test_a_column_shows_the_largest_of_its_frames():
    rows = [RowOf(0.1)] * 2000 + [RowOf(0.9)] + [RowOf(0.1)] * 999
    drawn = columns(rows)
    assert len(drawn) == 480 and (drawn[0].first, drawn[-1].last) == (0, 2999)
    assert [column.first for column in drawn[1:]] == [column.last + 1 for column in drawn[:-1]]
    peak = next(column for column in drawn if column.scores[0] == 0.9)
    assert peak.first <= 2000 <= peak.last and sum(c.scores[0] == 0.9 for c in drawn) == 1
    assert columns(rows[:3])[2].scores == (0.1, 0.1, 0.0, 0.0)
    assert step_path([0.0, 0.5, 1.0]) == 'M0 100V100.0h1V50.0h1V0.0h1V100z'


def test_times_are_shown_where_they_grow(monkeypatch):
    assert is_timed([RowOf(0, 1), RowOf(0, 2)])
    assert not is_timed([RowOf(0, 2), RowOf(0, 2)]) and not is_timed([RowOf(0, 1)])
    assert time_text(75_250_000_000) == '1:15.2' and time_text(75 * 10**9, False) == '1:15'
    monkeypatch.setenv('TZ', 'UTC')
    assert time_text(1_700_000_000_700_000_000) == '22:13:20.7'
