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
"""Labels stay true whatever is done to the picture."""

from dataclasses import replace

from hypothesis import given, settings, strategies
from mtl_perception.augment import (
    apply_all, ColourJitter, CopyPaste, cut, Degrade, flip, HorizontalFlip, RandomView, Recolour)
from mtl_perception.data.batches import collate, encode
from mtl_perception.data.sample import Sample
from mtl_perception.preprocess import Letterbox
import numpy as np
import pytest


def square_sample(x=60, y=40, side=30, height=120, width=160, class_id=7):
    """Return a picture with one bright square, its box and its mask."""
    image = np.full((height, width, 3), 20, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    image[y:y + side, x:x + side] = 240
    mask[y:y + side, x:x + side] = class_id
    return Sample('square', image, np.array([[x, y, x + side, y + side]], np.float32),
                  np.array([class_id]), np.array([False]), mask, 3)


def bright_box(image):
    """Return the edges of what is bright."""
    rows, columns = np.nonzero(image.min(axis=2) > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_flip_moves_box_and_mask_with_the_picture():
    """And twice is the picture again."""
    sample = square_sample()
    flipped = flip(sample)
    np.testing.assert_array_equal(flipped.boxes[0], bright_box(flipped.image))
    np.testing.assert_array_equal(flipped.mask == 7, flipped.image[..., 0] > 200)
    again = flip(flipped)
    np.testing.assert_array_equal(again.image, sample.image)
    np.testing.assert_array_equal(again.boxes, sample.boxes)
    np.testing.assert_array_equal(again.mask, sample.mask)


@pytest.mark.parametrize('window', (
    (0, 0, 160, 120), (50, 30, 60, 60), (-20, -30, 300, 200), (70, 50, 40, 30), (10, 5, 100, 80)))
def test_cut_moves_box_and_mask_with_the_picture(window):
    """Inside, across the border, and around the whole picture."""
    part = cut(square_sample(), *window, grey=114)
    assert part.image.shape[:2] == part.mask.shape == (window[3], window[2])
    np.testing.assert_array_equal(part.boxes[0], bright_box(part.image))
    np.testing.assert_array_equal(part.mask == 7, part.image[..., 0] > 200)


def test_outside_the_picture_is_grey_and_unlabelled():
    """A border is no background."""
    part = cut(square_sample(), -10, -10, 200, 200, grey=114)
    assert (part.image[:10] == 114).all()
    assert (part.mask[:10] == 255).all()
    assert (part.mask[10:130, 10:170] != 255).all()


@pytest.mark.parametrize('window, difficult', (
    ((0, 0, 85, 120), [False]),      # five sixths are left
    ((0, 0, 65, 120), [True]),       # one sixth is left
    ((0, 0, 60, 120), []),           # nothing is left
    ((100, 100, 20, 20), [])))
def test_what_a_cut_leaves_little_of_is_difficult_and_what_it_takes_is_gone(window, difficult):
    """An object's edge is nothing to learn as the object."""
    part = cut(square_sample(), *window, grey=0)
    assert part.difficult.tolist() == difficult
    assert len(part.boxes) == len(part.class_ids) == len(difficult)


@settings(max_examples=60, deadline=None)
@given(seed=strategies.integers(0, 10**6), x=strategies.integers(0, 120),
       y=strategies.integers(0, 80))
def test_box_mask_and_picture_agree_after_any_view(seed, x, y):
    """Whatever the window, what the box says is what the mask shows."""
    view = RandomView(zoom=(0.4, 2.0), probability=1.0)
    part = view(square_sample(x, y), np.random.default_rng(seed))
    rows, columns = np.nonzero(part.mask == 7)
    if len(part.boxes):
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_array_equal(part.boxes[0], expected)
    else:
        assert len(rows) == 0


@settings(max_examples=30, deadline=None)
@given(seed=strategies.integers(0, 10**6), side=strategies.sampled_from((64, 96, 128)))
def test_encoded_mask_and_box_agree_with_the_picture(seed, side):
    """After view, flip and letterbox the square's box is found again to a pixel and a half."""
    steps = (RandomView(probability=1.0), HorizontalFlip())
    part = apply_all(steps, square_sample(), np.random.default_rng(seed))
    encoded = encode(part, Letterbox(side, side, 114))
    assert encoded.image.shape == (side, side, 3)
    assert encoded.mask.shape == (side // 4, side // 4)
    if len(encoded.boxes) and not encoded.difficult[0] \
            and (encoded.boxes[0, 2:] - encoded.boxes[0, :2]).min() > 6:
        bright = encoded.image.min(axis=2) > 180
        rows, columns = np.nonzero(bright)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(encoded.boxes[0], found, atol=1.5)
        inner = encoded.mask[encoded.mask != 255] == 7
        assert abs(inner.sum() * 16 - bright.sum()) < 0.5 * bright.sum() + 64


def test_letterbox_border_is_unlabelled():
    """A wide picture leaves the lower part of the square without a label."""
    encoded = encode(square_sample(), Letterbox(128, 128, 114))
    assert (encoded.mask[:24] != 255).all()
    assert (encoded.mask[24:] == 255).all()


@pytest.mark.parametrize('augmentation', (
    ColourJitter(probability=1.0), Degrade(probability=1.0)), ids=('colour', 'degrade'))
def test_light_and_quality_change_the_picture_only(augmentation):
    """Labels are the same objects, the picture keeps its shape and what it shows."""
    sample = square_sample()
    changed = augmentation(sample, np.random.default_rng(3))
    assert changed.boxes is sample.boxes
    assert changed.mask is sample.mask
    assert changed.image.shape == sample.image.shape
    assert changed.image.dtype == np.uint8
    assert (changed.image != sample.image).any()
    square = sample.mask == 7
    assert changed.image[square].mean() > changed.image[~square].mean() + 50


def test_an_aimed_window_shows_the_object():
    """A small window anywhere would mostly miss it."""
    sample = square_sample(100, 70)
    views = [RandomView((0.3, 0.3), probability=1.0, aimed=aimed) for aimed in (0.0, 1.0)]
    shown = [sum(len(view(sample, np.random.default_rng(seed)).boxes) for seed in range(50))
             for view in views]
    assert shown[0] < 35
    assert shown[1] == 50


def test_a_close_look_says_nothing_of_the_room():
    """Below the zoom of the recipe the image class is unknown, above it stays."""
    sample = replace(square_sample(), image_class=4)
    for zoom, expected in ((0.4, None), (0.6, 4)):
        view = RandomView((zoom, zoom), probability=1.0, place_zoom=0.5)
        assert view(sample, np.random.default_rng(0)).image_class == expected


@settings(max_examples=60, deadline=None)
@given(seed=strategies.integers(0, 10**6))
def test_pasted_objects_are_labelled_by_what_is_seen(seed):
    """Every box holds pixels of its class to the edge, what is wholly hidden is gone."""
    paste = CopyPaste([square_sample(20, 10, class_id=3)], probability=1.0, scale=(0.5, 1.5))
    sample = square_sample(60, 40)
    pasted = paste(sample, np.random.default_rng(seed))
    assert len(pasted.boxes) == len(pasted.class_ids) == len(pasted.difficult)
    assert (pasted.class_ids == 3).sum() == 1
    for box, class_id, difficult in zip(pasted.boxes, pasted.class_ids, pasted.difficult):
        rows, columns = np.nonzero(pasted.mask == class_id)
        np.testing.assert_array_equal(
            box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        whole = (sample.mask == 7).sum()
        assert difficult == (class_id == 7 and len(rows) < 0.5 * whole)
    assert (sample.mask == 3).sum() == 0, 'the sample itself is left alone'
    assert (7 in pasted.class_ids) == (pasted.mask == 7).any()


def test_an_object_gets_another_colour_and_nothing_else():
    """Outside the mask not a pixel changes; labels are the same."""
    sample = square_sample()
    sample.image[sample.mask == 7] = (200, 60, 40)
    changed = Recolour(1.0)(sample, np.random.default_rng(2))
    inside = sample.mask == 7
    np.testing.assert_array_equal(changed.image[~inside], sample.image[~inside])
    assert np.abs(changed.image[inside].astype(int) - sample.image[inside]).max(axis=1).min() > 20
    assert changed.mask is sample.mask
    assert changed.boxes is sample.boxes


@pytest.mark.parametrize('augmentation', (
    CopyPaste([square_sample()], 1.0), Recolour(1.0)), ids=('paste', 'recolour'))
def test_without_mask_or_boxes_objects_cannot_be_told(augmentation):
    """Such a sample stays as it is."""
    for lacking in ({'mask': None}, {'boxes': None, 'class_ids': None, 'difficult': None}):
        sample = replace(square_sample(), **lacking)
        assert augmentation(sample, np.random.default_rng(0)) is sample


@pytest.mark.parametrize('augmentation', (
    RandomView(probability=0.0), HorizontalFlip(0.0), ColourJitter(probability=0.0),
    CopyPaste([square_sample()], 0.0)))
def test_probability_zero_changes_nothing(augmentation):
    """Off is off."""
    sample = square_sample()
    assert augmentation(sample, np.random.default_rng(0)) is sample


def test_the_same_seed_gives_the_same_picture():
    """A run that is cut off goes on with the batches it would have had."""
    steps = (RandomView(), HorizontalFlip(), ColourJitter(), Degrade(probability=1.0))
    first, second = (apply_all(steps, square_sample(), np.random.default_rng(5))
                     for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.boxes, second.boxes)


def test_collate_pads_and_says_what_is_lacking():
    """A picture without labels stands beside one with all of them."""
    letterbox = Letterbox(64, 64, 114)
    bare = Sample('bare', np.zeros((10, 10, 3), np.uint8))
    batch = collate([encode(sample, letterbox) for sample in (square_sample(), bare)])
    targets = batch.targets
    assert batch.images.shape == (2, 64, 64, 3)
    assert targets.has_boxes.tolist() == [True, False]
    assert targets.positive.tolist() == [[True], [False]]
    assert targets.class_indices[0, 0] == 6
    assert targets.image_classes.tolist() == [3, -1]
    assert (targets.masks[1] == 255).all()
