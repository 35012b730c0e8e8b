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
"""The letterbox: shapes, colour order, borders, geometry."""

from hypothesis import given, settings, strategies
from mtl_perception.preprocess import input_shape, KeptLetterbox, Letterbox
import numpy as np
import pytest

SIDES = strategies.sampled_from([32, 64, 320, 512, 768])
SIZES = strategies.tuples(strategies.integers(1, 2200), strategies.integers(1, 3900))


@pytest.mark.parametrize(('source', 'content'), [
    ((480, 640), (384, 512)),
    ((720, 1280), (288, 512)),
    ((1280, 720), (512, 288)),
    ((512, 512), (512, 512)),
    ((256, 256), (512, 512)),
    ((1, 1), (512, 512)),
    ((1, 4000), (1, 512)),
])
def test_content_keeps_the_aspect_ratio(source, content):
    image, transform = Letterbox(512, 512)(np.full((*source, 3), 7, np.uint8))
    assert image.shape == (512, 512, 3)
    assert (transform.content_height, transform.content_width) == content
    assert (image[:content[0], :content[1]] == 7).all()
    assert (image[content[0]:] == 114).all()
    assert (image[:, content[1]:] == 114).all()


def test_bgr_becomes_rgb():
    image, _ = Letterbox(32, 32)(np.full((8, 8, 3), (1, 2, 3), np.uint8))
    assert tuple(image[0, 0]) == (3, 2, 1)


def test_a_strided_view_is_read_right():
    wide = np.zeros((64, 80, 3), np.uint8)
    wide[:, :64] = 50
    image, _ = Letterbox(64, 64)(wide[:, :64])
    assert (image == 50).all()


@pytest.mark.parametrize('source', [(48, 64), (100, 30), (64, 64), (400, 300)])
def test_a_kept_letterbox_leaves_nothing_of_the_picture_before(source):
    """Results share their memory, one after the other, and are those of the pure one."""
    kept, random = KeptLetterbox(Letterbox(64, 64), *source), np.random.default_rng(0)
    for _ in range(3):
        picture = random.integers(0, 256, (*source, 3), np.uint8)
        expected, transform = Letterbox(64, 64)(picture)
        found = kept(picture)
        np.testing.assert_array_equal(found, expected)
        assert kept.transform == transform and np.shares_memory(found, kept(picture))
    assert not np.shares_memory(expected, Letterbox(64, 64)(picture)[0])


@given(SIZES)
@settings(max_examples=300, deadline=None)
def test_boxes_return_to_where_they_were(size):
    transform = Letterbox(512, 512).transform_for(*size)
    height, width = size
    boxes = np.array([[0, 0, width, height], [width / 3, height / 4, width / 2, height / 2]],
                     np.float32)
    returned = transform.boxes_to_source(transform.boxes_to_input(boxes))
    np.testing.assert_allclose(returned, boxes, atol=0.01)


@given(SIZES)
@settings(max_examples=100, deadline=None)
def test_content_fits_and_touches_an_edge(size):
    transform = Letterbox(384, 512).transform_for(*size)
    assert 1 <= transform.content_height <= 384
    assert 1 <= transform.content_width <= 512
    assert transform.content_height == 384 or transform.content_width == 512


@pytest.mark.parametrize(('source', 'shape'), [
    ((512, 512), (512, 512)),
    ((37, 37), (512, 512)),
    ((480, 640), (448, 576)),
    ((720, 1280), (384, 672)),
    ((1280, 720), (672, 384)),
    ((1, 4000), (32, 1024)),
    ((4000, 1), (1024, 32)),
])
def test_the_networks_picture_has_the_proportions_of_the_source(source, shape):
    assert input_shape(512, 512, *source) == shape


@given(SIDES, SIDES, SIZES)
@settings(max_examples=300, deadline=None)
def test_no_picture_costs_more_than_the_cards_or_is_scaled_down_more(height, width, source):
    shape = input_shape(height, width, *source)
    assert all(side % 32 == 0 and side >= 32 for side in shape)
    assert shape[0] * shape[1] <= height * width
    own = Letterbox(*shape).transform_for(*source)
    cards = Letterbox(height, width).transform_for(*source)
    # But for half a row of the 32 that the smallest picture has, which rounding may take.
    least = 1.0 - 0.5 / 32
    assert own.content_width + 1 > least * cards.content_width
    assert own.content_height + 1 > least * cards.content_height
    # Nothing is spent on a border that a smaller picture would not have.
    assert shape[0] - own.content_height < 32 and shape[1] - own.content_width < 32
