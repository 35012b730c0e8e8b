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
"""Boxes, mask and class out of prediction tensors whose answer is known."""

import cv2
from hypothesis import given, settings, strategies
from mtl_perception.card import Architecture, Card, ClassNames, ImageInput
from mtl_perception.config import InferenceSettings
from mtl_perception.postprocess import cell_centres, Postprocessor
from mtl_perception.preprocess import Letterbox
import numpy as np
import pytest

SETTINGS = InferenceSettings()
CARD = Card('toy', Architecture('unified', (8, 16, 32)), ImageInput(256, 256),
            ClassNames(('cup', 'plate', 'book'), ('background', 'cup', 'plate', 'book'),
                       ('kitchen', 'study')))
LAYOUT = CARD.layout
CENTRES, STRIDES = cell_centres(256, 256, (8, 16, 32))
SOURCES = strategies.tuples(strategies.integers(1, 1500), strategies.integers(1, 1500))


def silent_tensor():
    """Return a prediction that says nothing: low logits, background everywhere."""
    tensor = np.full((LAYOUT.channels, CARD.cells), -20.0, np.float32)
    tensor[LAYOUT.distance_channels] = 0.0
    tensor[LAYOUT.segmentation_channels.start] = 20.0
    return tensor


def put_box(tensor, box, class_id, score, cell=None):
    """Write ``box`` (xyxy, network pixels) into ``cell`` or the one nearest its centre."""
    if cell is None:
        middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
        cell = np.argmin(np.abs(CENTRES - middle).sum(axis=1))
    x, y = CENTRES[cell]
    tensor[:4, cell] = np.array([x - box[0], y - box[1], box[2] - x, box[3] - y]) / STRIDES[cell]
    tensor[4, cell] = tensor[4 + class_id, cell] = np.log(score / (1 - score))
    return cell


def transform_for(height, width):
    return Letterbox(256, 256).transform_for(height, width)


def test_cells_are_ordered_finest_first_row_by_row():
    assert len(CENTRES) == CARD.cells == 32 * 32 + 16 * 16 + 8 * 8
    assert tuple(CENTRES[0]) == (4, 4) and tuple(CENTRES[1]) == (12, 4)
    assert tuple(CENTRES[32]) == (4, 12) and tuple(CENTRES[1024]) == (8, 8)
    assert STRIDES[0] == 8 and STRIDES[1024] == 16 and STRIDES[-1] == 32


def test_nothing_to_see_gives_empty_arrays_of_the_right_shape():
    heads = Postprocessor(CARD)(silent_tensor(), transform_for(480, 640), SETTINGS)
    assert heads.detections.boxes.shape == (0, 4)
    assert heads.detections.scores.shape == heads.detections.class_ids.shape == (0,)
    assert heads.mask.shape == (480, 640) and not heads.mask.any()


@given(SOURCES, strategies.tuples(*[strategies.floats(0.0, 1.0)] * 4))
@settings(max_examples=300, deadline=None)
def test_a_box_comes_back_within_a_pixel_for_any_source_size(size, corners):
    height, width = size
    x = np.sort([corners[0] * width, corners[2] * width])
    y = np.sort([corners[1] * height, corners[3] * height])
    box = np.array([x[0], y[0], x[1], y[1]], np.float32)
    transform = transform_for(height, width)
    target = transform.boxes_to_input(box[None])[0]
    if (target[2:] - target[:2]).min() < 1.0:
        return
    tensor = silent_tensor()
    put_box(tensor, target, class_id=2, score=0.9)
    found = Postprocessor(CARD).detections(tensor, transform, SETTINGS)
    assert len(found) == 1
    np.testing.assert_allclose(found.boxes[0], box, atol=1.0)
    assert found.scores[0] == pytest.approx(0.9, abs=1e-5) and found.class_ids[0] == 2
    assert found.boxes.dtype == found.scores.dtype == np.float32


@given(SOURCES, strategies.floats(0.1, 0.9), strategies.booleans())
@settings(max_examples=200, deadline=None)
def test_a_mask_edge_comes_back_within_a_pixel_for_any_source_size(size, where, vertical):
    height, width = size
    transform = transform_for(height, width)
    along = width if vertical else height
    edge = where * along
    scale = transform.scale[0 if vertical else 1]
    # A logit ramp through the edge: interpolation between cells keeps it where it is.
    ramp = (edge * scale - CENTRES[:1024, 0 if vertical else 1]) / 8
    tensor = silent_tensor()
    tensor[LAYOUT.segmentation_channels, :1024] = -50.0
    tensor[LAYOUT.segmentation_channels.start + 1, :1024] = ramp
    tensor[LAYOUT.segmentation_channels.start + 3, :1024] = -ramp
    mask = Postprocessor(CARD).mask(tensor, transform)
    assert mask.shape == size and mask.dtype == np.uint8
    positions = np.arange(along) + 0.5
    expected = np.where(positions < edge, 1, 3)
    line = mask[height // 2] if vertical else mask[:, width // 2]
    # Outside the cells' centres there is nothing to interpolate: half a cell at the rim.
    rim = 4.0 / scale
    step = max(1.0, 1.0 / scale)  # a pixel of the network
    sure = (np.abs(positions - edge) > step) & (positions > rim) & (positions < along - rim)
    if (positions > rim).any() and rim < edge < along - rim:
        np.testing.assert_array_equal(line[sure], expected[sure])


def plain_mask(tensor, transform):
    """Return the mask of all classes at every pixel of the network, repeated for the source's."""
    rows, columns = -(-transform.content_height // 8), -(-transform.content_width // 8)
    logits = tensor[LAYOUT.segmentation_channels, :1024].reshape(-1, 32, 32)[:, :rows, :columns]
    ids = np.argmax([cv2.resize(np.ascontiguousarray(plane), None, fx=8, fy=8)
                     for plane in logits], axis=0).astype(np.uint8)
    return cv2.resize(ids[:transform.content_height, :transform.content_width],
                      (transform.source_width, transform.source_height),
                      interpolation=cv2.INTER_NEAREST_EXACT)


@pytest.mark.parametrize('size', [(256, 256), (480, 640), (100, 300), (7, 1), (1000, 301)])
@pytest.mark.parametrize('roughness', [1, 8])
def test_a_mask_is_what_the_plain_way_gives(size, roughness):
    """Only blocks between different classes are interpolated; nobody can tell."""
    random = np.random.default_rng(0)
    coarse = random.normal(size=(LAYOUT.segmentation, 32 // roughness, 32 // roughness))
    smooth = [cv2.resize(plane, (32, 32), interpolation=cv2.INTER_CUBIC) for plane in coarse]
    tensor = silent_tensor()
    tensor[LAYOUT.segmentation_channels, :1024] = np.reshape(smooth, (-1, 1024))
    transform = transform_for(*size)
    found = Postprocessor(CARD).mask(tensor, transform)
    assert found.shape == size and found.flags.c_contiguous
    assert (found != plain_mask(tensor, transform)).mean() < 1e-5  # rounding among equals


def test_a_cell_without_numbers_is_background():
    tensor = silent_tensor()
    tensor[LAYOUT.segmentation_channels, :1024] = np.nan
    tensor[LAYOUT.segmentation_channels, 500:600] = np.array([0, 5, 0, 0])[:, None]
    mask = Postprocessor(CARD).mask(tensor, transform_for(256, 256))
    assert set(np.unique(mask)) == {0, 1}


@pytest.mark.parametrize('threshold', [0.0, 1e-15, 0.3, 0.999, 1.0])
def test_the_threshold_on_logits_loses_no_score(threshold):
    """What the quality alone rules out is exactly what the score rules out."""
    tensor = silent_tensor()
    for index, score in enumerate([0.29999, 0.3, 0.30001, 0.9989, 0.9991, 1 - 1e-7]):
        put_box(tensor, (40 * index, 10, 40 * index + 30, 40), 1, score)
        tensor[5, np.argmax(tensor[4])] = 60.0  # the class is sure
    found = Postprocessor(CARD).detections(
        tensor, transform_for(256, 256), InferenceSettings(score_threshold=threshold))
    quality = 1 / (1 + np.exp(-tensor[4]))
    score = np.sqrt(quality / (1 + np.exp(-tensor[5:8].max(axis=0))))
    expected = np.sort(score[score >= threshold])[::-1][:len(found)]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-6)


def test_of_overlapping_boxes_of_a_class_the_best_stays():
    tensor = silent_tensor()
    put_box(tensor, (40, 40, 100, 100), 1, 0.8)
    put_box(tensor, (42, 42, 102, 102), 1, 0.9, cell=300)
    put_box(tensor, (41, 41, 101, 101), 2, 0.7, cell=301)
    found = Postprocessor(CARD).detections(tensor, transform_for(256, 256), SETTINGS)
    assert found.class_ids.tolist() == [1, 2]
    assert found.scores[0] == pytest.approx(0.9)
    assert (np.diff(found.scores) <= 0).all()


def test_a_box_is_the_mean_of_those_it_stands_for_weighted_by_score():
    tensor = silent_tensor()
    put_box(tensor, (40, 40, 100, 100), 1, 0.8)
    put_box(tensor, (42, 42, 102, 102), 1, 0.9, cell=300)
    put_box(tensor, (52, 52, 102, 102), 1, 0.5, cell=301)  # overlaps, by less than 0.7
    put_box(tensor, (41, 41, 101, 101), 2, 0.7, cell=302)  # another class
    found = Postprocessor(CARD).detections(tensor, transform_for(256, 256), SETTINGS)
    assert found.class_ids.tolist() == [1, 2]
    mean = (40 * 0.8 + 42 * 0.9) / 1.7
    np.testing.assert_allclose(found.boxes[0], (mean, mean, mean + 60, mean + 60), atol=1e-3)
    np.testing.assert_allclose(found.boxes[1], (41, 41, 101, 101), atol=1e-3)


def test_max_detections_keeps_the_best():
    tensor = silent_tensor()
    for index in range(10):
        put_box(tensor, (20 * index, 10, 20 * index + 15, 30), 1, 0.5 + 0.04 * index)
    found = Postprocessor(CARD).detections(
        tensor, transform_for(256, 256), InferenceSettings(max_detections=3))
    np.testing.assert_allclose(found.scores, [0.86, 0.82, 0.78], atol=1e-5)


def test_thousands_of_candidates_are_bounded():
    tensor = silent_tensor()
    tensor[4:8] = 3.0
    tensor[:4] = 0.4
    found = Postprocessor(CARD).detections(
        tensor, transform_for(256, 256), InferenceSettings(score_threshold=0.0))
    assert len(found) == 100


def test_a_head_that_is_off_gives_none():
    off = InferenceSettings(detection=False, segmentation=False, classification=False)
    heads = Postprocessor(CARD)(silent_tensor(), transform_for(64, 64), off)
    assert heads == (None, None, None)


def test_class_probabilities_are_a_softmax_of_the_coarsest_level():
    tensor = silent_tensor()
    tensor[LAYOUT.classification_channels] = 100.0  # finer levels have no say
    tensor[LAYOUT.classification_channels.start, -64:] = np.log(3.0)
    tensor[LAYOUT.classification_channels.start + 1, -64:] = 0.0
    np.testing.assert_allclose(
        Postprocessor(CARD).class_probabilities(tensor), [0.75, 0.25], atol=1e-6)


@pytest.mark.parametrize('value', [np.inf, -np.inf, np.nan])
def test_values_that_are_no_numbers_do_not_escape(value):
    tensor = silent_tensor()
    cell = put_box(tensor, (40, 40, 100, 100), 1, 0.9)
    tensor[0, cell] = value
    found = Postprocessor(CARD).detections(tensor, transform_for(256, 256), SETTINGS)
    assert np.isfinite(found.boxes).all()


def test_a_cell_says_one_class():
    tensor = silent_tensor()
    cell = put_box(tensor, (40, 40, 100, 100), 2, 0.9)
    tensor[LAYOUT.detection_channels, cell] = 1.0, 3.0, 2.0
    found = Postprocessor(CARD).detections(tensor, transform_for(256, 256), SETTINGS)
    assert found.class_ids.tolist() == [2]
