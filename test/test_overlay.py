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
"""Pictures of predictions: colours that differ for everybody, drawings that stay inside."""

from itertools import combinations
import time

from mtl_perception.card import Architecture, Card, ClassNames, ImageInput
from mtl_perception.frame import Frame
from mtl_perception.household.classes import OBJECT_CLASSES, PLACES
from mtl_perception.overlay import (
    class_color, colorize_mask, contact_sheet, draw_legend, draw_overlay, mask_share)
from mtl_perception.prediction import Detections, Prediction
import numpy as np
import pytest

CARD = Card('toy', Architecture('report', (32,)), ImageInput(64, 64),
            ClassNames(OBJECT_CLASSES, ('background', *OBJECT_CLASSES), PLACES))
SIZES = [(480, 640), (720, 1280), (640, 360), (240, 320), (2160, 3840), (20, 30), (1, 1), (1, 900)]
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISIONS = {
    'normal': np.eye(3),
    'protan': [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    'deutan': [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
}


def oklab(linear):
    lms = np.cbrt(np.array([[0.4122214708, 0.5363325363, 0.0514459929],
                            [0.2119034982, 0.6806995451, 0.1073969566],
                            [0.0883024619, 0.2817188376, 0.6299787005]]) @ linear)
    return np.array([[0.2104542553, 0.7936177850, -0.0040720468],
                     [1.9779984951, -2.4285922050, 0.4505937099],
                     [0.0259040371, 0.7827717662, -0.8086757660]]) @ lms


def seen(class_id, vision):
    rgb = np.array(class_color(class_id)[::-1]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return oklab(np.clip(np.array(VISIONS[vision]) @ linear, 0, 1))


@pytest.mark.parametrize('vision', VISIONS)
def test_the_household_classes_look_different_to_everybody(vision):
    colors = {i: seen(i, vision) for i in range(1, 21)}
    nearest = min(np.linalg.norm(colors[a] - colors[b]) for a, b in combinations(colors, 2))
    assert nearest > 0.055, 'about three times what one can just tell apart'


def test_every_id_has_its_own_colour():
    assert len({class_color(i) for i in range(256)}) == 256
    assert class_color(0) == (0, 0, 0)
    assert len(set(class_color(255))) == 1, 'unlabelled is grey'
    assert class_color(1) == (0, 0x9F, 0xE6), 'the first of Okabe and Ito'


def test_a_mask_is_coloured_in_rgb():
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    picture = colorize_mask(mask)
    assert picture.shape == (8, 32, 3)
    for class_id in range(256):
        assert tuple(picture[divmod(class_id, 32)][::-1]) == class_color(class_id)


def prediction(height, width, objects=6, seed=0):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (objects, 2, 2)), axis=1) * [width, height]
    mask = np.zeros((height, width), np.uint8)
    ids = rng.integers(1, 21, objects)
    for ((left, top), (right, bottom)), class_id in zip(corners.astype(int), ids):
        mask[top:bottom, left:right] = class_id
    places = rng.dirichlet(np.ones(len(PLACES))).astype(np.float32)
    return Prediction(Detections(corners.reshape(-1, 4).astype(np.float32),
                                 np.linspace(1, 0.3, objects, dtype=np.float32), ids),
                      mask, places)


@pytest.mark.parametrize('height, width', SIZES)
def test_every_size_can_be_drawn(height, width):
    frame = Frame(np.full((height, width, 3), 90, np.uint8))
    picture = draw_overlay(frame, prediction(height, width), CARD, 12.3)
    assert picture.shape == frame.image.shape and picture.dtype == np.uint8
    assert (frame.image == 90).all(), 'the frame stays as it was'
    assert (picture != 90).any()


def test_boxes_of_whole_pictures_and_at_the_border_are_drawn_inside():
    frame = Frame(np.zeros((120, 160, 3), np.uint8))
    boxes = np.array([[0, 0, 160, 120], [150, 110, 160, 120], [0, 0, 4, 4], [159, 0, 160, 1]],
                     np.float32)
    detections = Detections(boxes, np.linspace(1, 0.5, 4, dtype=np.float32), np.arange(1, 5))
    picture = draw_overlay(frame, Prediction(detections), CARD)
    assert tuple(picture[60, 0]) == class_color(1), 'the left line'
    assert tuple(picture[60, 159]) == class_color(1), 'the right line is inside'


def test_the_mask_shines_through_and_its_rim_is_solid():
    image = np.full((100, 100, 3), 200, np.uint8)
    mask = np.zeros((100, 100), np.uint8)
    mask[30:60, 30:60] = 5
    picture = draw_overlay(Frame(image), Prediction(mask=mask), CARD)
    assert (picture[mask == 0] == 200).all()
    assert tuple(picture[30, 45]) == tuple(picture[45, 59]) == class_color(5)
    inside = picture[45, 45].astype(int)
    assert (abs(inside - (0.55 * 200 + 0.45 * np.array(class_color(5)))) <= 1).all()


def test_nothing_said_is_nothing_drawn():
    image = np.random.default_rng(0).integers(0, 255, (50, 60, 3)).astype(np.uint8)
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32),
                       np.zeros(0, np.int64))
    nothing = Prediction(empty, np.zeros((50, 60), np.uint8))
    assert (draw_overlay(Frame(image), nothing, CARD) == image).all()
    assert (draw_overlay(Frame(image), Prediction(), CARD) == image).all()


def test_labels_of_neighbours_do_not_cover_each_other():
    """Each label is a rectangle of its box's colour; all of them stay whole."""
    frame = Frame(np.zeros((480, 640, 3), np.uint8))
    boxes = np.array([[200 + 12 * i, 200, 260 + 12 * i, 240] for i in range(3)], np.float32)
    detections = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([1, 2, 3]))
    alone = [int((draw_overlay(frame, Prediction(Detections(
        boxes[i:i + 1], detections.scores[i:i + 1], detections.class_ids[i:i + 1])), CARD)
        == class_color(i + 1)).all(axis=2).sum()) for i in range(3)]
    together = draw_overlay(frame, Prediction(detections), CARD)
    for i in range(3):
        left = int((together == class_color(i + 1)).all(axis=2).sum())
        assert left > 0.75 * alone[i], 'a label may hide lines of boxes, no more'


def test_a_hundred_boxes_do_not_hold_up_the_node():
    frame = Frame(np.zeros((720, 1280, 3), np.uint8))
    few, many = ([] for _ in range(2))
    for times, answer in ((few, prediction(720, 1280, 10)), (many, prediction(720, 1280, 100))):
        for _ in range(5):
            start = time.perf_counter()
            draw_overlay(frame, answer, CARD, 1.0)
            times.append(time.perf_counter() - start)
    assert min(many) < 10 * min(few)


def luminance(color):
    levels = np.array(color[::-1]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize('class_id', range(1, 255))
def test_every_label_can_be_read(class_id):
    """Letters have the contrast that WCAG 2.2 asks of texts (level AA)."""
    names = [f'class {number}' for number in range(1, 255)]
    card = Card('many', Architecture('report', (32,)), ImageInput(64, 64),
                ClassNames(names, ('background', *names), PLACES))
    detections = Detections(np.array([[300, 300, 800, 500]], np.float32),
                            np.ones(1, np.float32), np.array([class_id]))
    frame = Frame(np.full((720, 1280, 3), 90, np.uint8))
    label = draw_overlay(frame, Prediction(detections), card)[280:298, 304:380]
    ground, values = luminance(class_color(class_id)), [luminance(c) for c in np.unique(
        label.reshape(-1, 3), axis=0)]
    ink = max(values, key=lambda value: abs(value - ground))
    low, high = sorted((ground, ink))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_the_legend_has_every_class_on_its_colour():
    picture = draw_legend(CARD)
    for class_id in range(1, 21):
        assert (picture == class_color(class_id)).all(axis=2).sum() > 1000
    assert not (picture == class_color(21)).all(axis=2).any()


def test_a_legend_names_boxes_and_mask():
    """Where an id means something else in each, both names stand there."""
    card = Card('toy', Architecture('report', (32,)), ImageInput(64, 64),
                ClassNames(('cup',), ('background', 'floor', 'wall'), ('hall',)))
    same = Card('toy', Architecture('report', (32,)), ImageInput(64, 64),
                ClassNames(('cup', 'wall'), ('background', 'cup', 'wall'), ('hall',)))
    assert draw_legend(card).shape[0] == draw_legend(same).shape[0]
    assert draw_legend(card).shape[1] > draw_legend(same).shape[1]


def test_mask_share_counts_objects_only():
    mask = np.zeros((10, 10), np.uint8)
    mask[0], mask[1] = 3, 255
    assert mask_share(mask) == pytest.approx(0.1)


@pytest.mark.parametrize('count, columns, expected', [
    (1, 4, (60 + 12, 80 + 12)), (4, 4, (60 + 12, 4 * 86 + 6)), (5, 4, (2 * 66 + 6, 4 * 86 + 6)),
])
def test_a_contact_sheet_holds_all_pictures(count, columns, expected):
    pictures = [np.full((120, 160, 3), 50 + 10 * i, np.uint8) for i in range(count)]
    sheet = contact_sheet(pictures, columns, cell_width=80)
    assert sheet.shape == (*expected, 3)
    assert all((sheet == 50 + 10 * i).any() for i in range(count))


def test_a_contact_sheet_keeps_proportions_of_odd_pictures():
    wide, tall = np.full((60, 80, 3), 200, np.uint8), np.full((80, 20, 3), 99, np.uint8)
    sheet = contact_sheet([wide, tall], 2, cell_width=80)
    rows, columns = np.nonzero((sheet == 99).all(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (60, 15)
    with pytest.raises(ValueError):
        contact_sheet([])
