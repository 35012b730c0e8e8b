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
"""Objects lie on the surface, inside the free area, and not in each other."""

from itertools import combinations

import cv2
from mtl_perception.household.objects import ASSETS_BY_NAME
from mtl_perception.household.placing import lay, outline_distance, resting_rotation
import numpy as np
import pytest

HEIGHT = 0.8
AREA = np.array([-0.3, -0.3, 0.3, 0.3])
CORNERS = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T


def box(*size):
    """Return points that span a box with these half sizes."""
    return np.vstack([CORNERS * np.array(size), CORNERS * np.array(size) * 0.5])


def fill(seed, may_stack):
    """Lay a dozen boxes of a class that rests on any face."""
    rng = np.random.default_rng(seed)
    laid = []
    for _ in range(12):
        found = lay(rng, 'cookies', ASSETS_BY_NAME['cookies'], box(0.03, 0.04, 0.01), laid, AREA,
                    (0.0, 0.0, 0.2), HEIGHT, may_stack)
        if found:
            laid.append(found)
    return laid


@pytest.mark.parametrize('seed', range(4))
def test_objects_rest_on_the_surface_and_do_not_touch(seed):
    """The lowest point is the surface, outlines are apart and inside the area."""
    laid = fill(seed, may_stack=False)
    assert len(laid) >= 6
    for item in laid:
        assert item.points[:, 2].min() == pytest.approx(HEIGHT, abs=0.001)
        assert (item.points[:, :2] >= AREA[:2] - 1e-6).all()
        assert (item.points[:, :2] <= AREA[2:] + 1e-6).all()
    for first, second in combinations(laid, 2):
        pictures = np.zeros((2, 700, 700), np.uint8)  # drawn at 1 mm a pixel
        for picture, item in zip(pictures, (first, second)):
            corners = np.round(item.outline * 1000 + 350).astype(np.int32)
            cv2.fillConvexPoly(picture, corners, 1)
        assert not (pictures[0] & pictures[1]).any()


def test_stacked_objects_stand_on_the_one_below():
    """Something put on another starts where the other ends."""
    laid = fill(1, may_stack=True)
    tops = [HEIGHT] + [item.points[:, 2].max() for item in laid]
    bottoms = [item.points[:, 2].min() for item in laid]
    assert max(bottoms) > HEIGHT + 0.01
    for bottom in bottoms:
        assert min(abs(bottom - top) for top in tops) < 0.001


def test_rotation_and_position_give_the_points():
    """What is drawn is where the placing thinks it is."""
    points = box(0.03, 0.04, 0.01)
    for item in fill(2, may_stack=True):
        np.testing.assert_allclose(points @ item.rotation.T + item.position, item.points,
                                   atol=1e-9)
        np.testing.assert_allclose(item.rotation @ item.rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(item.rotation) == pytest.approx(1)


def test_bottles_stand_on_their_bottom_or_lie():
    """A bottle never stands on its cap."""
    rng = np.random.default_rng(0)
    ups = np.array([resting_rotation(rng, ASSETS_BY_NAME['milk'], np.array([5, 14, 5]))[0][2]
                    for _ in range(60)])
    assert (ups[:, 1] > -0.01).all()
    assert 0.4 < (ups[:, 1] > 0.99).mean() < 0.9


def test_distance_of_outlines_against_known_squares():
    """Apart, touching, overlapping and nested squares of a few centimetres."""
    square = np.array([[0, 0], [0.04, 0], [0.04, 0.04], [0, 0.04]], np.float32)
    assert outline_distance(square, square + [0.05, 0.01]) == pytest.approx(0.01, abs=1e-6)
    assert outline_distance(square, square + [0.03, 0.0]) == pytest.approx(-0.01, abs=1e-6)
    assert outline_distance(square, square * 0.5 + 0.01) < -0.02
