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
"""Corruptions: known values, worse with severity, and the same every time."""

from mtl_perception.corruptions import CORRUPTIONS, SEVERITIES
from mtl_perception.errors import ConfigError
import numpy as np
import pytest


@pytest.fixture(scope='module')
def picture():
    """Return soft stripes of three colours with a sharp edge, uint8 [60, 90, 3]."""
    rows, columns = np.mgrid[:60, :90]
    image = np.stack([128 + 60 * np.sin(columns / 5), 40 + 2 * rows, 200 - columns], axis=2)
    image[20:40, 30:60] = (30, 220, 90)
    return image.astype(np.uint8)


def corrupt(name, image, severity=3, seed=0):
    """Return the picture behind a corruption."""
    return CORRUPTIONS[name](image, severity, np.random.default_rng(seed))


def distance(first, second):
    """Return the mean absolute difference."""
    return np.abs(first.astype(int) - second.astype(int)).mean()


def test_the_five_are_there():
    """The table is what commands offer."""
    assert tuple(CORRUPTIONS) == ('gaussian_blur', 'gaussian_noise', 'dark', 'jpeg',
                                  'low_contrast')


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_each_severity_is_worse_and_a_picture_stays_a_picture(name, picture):
    """Shape and type hold, the input is left alone, the harm grows."""
    before = picture.copy()
    worse = [corrupt(name, picture, severity) for severity in SEVERITIES]
    for image in worse:
        assert (image.shape, image.dtype) == (picture.shape, np.uint8)
    harm = [distance(image, picture) for image in worse]
    assert 0 < harm[0]
    assert harm == sorted(harm)
    assert len(set(harm)) == len(SEVERITIES)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_the_same_generator_gives_the_same_picture(name, picture):
    """Repeatable; and only noise draws at all."""
    first, again, other = (corrupt(name, picture, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (name != 'gaussian_noise')


@pytest.mark.parametrize('name', CORRUPTIONS)
@pytest.mark.parametrize('severity', (0, 6, -1))
def test_other_severities_are_refused(name, severity, picture):
    """An index of -1 must not mean the worst."""
    with pytest.raises(ConfigError, match='severity: expected one of'):
        corrupt(name, picture, severity)


def test_dark_is_what_is_left_of_the_light():
    """Two fifths of it at severity 3."""
    image = np.full((4, 4, 3), 200, np.uint8)
    assert (corrupt('dark', image) == 80).all()


def test_low_contrast_keeps_the_mean_of_each_colour():
    """A fifth of the distance from it remains at severity 3."""
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = (100, 200, 50)
    np.testing.assert_array_equal(corrupt('low_contrast', image)[:, 0],
                                  [[60, 120, 30], [40, 80, 20]])


def test_noise_has_the_deviation_that_imagenet_c_gives_it():
    """0.18 of 255 at severity 3, each colour by itself."""
    noise = corrupt('gaussian_noise', np.full((300, 300, 3), 128, np.uint8)).astype(float) - 128
    # Clipping at 0 and 255 takes a little off the tails.
    assert noise.std(axis=(0, 1)) == pytest.approx([45.9 - 0.4] * 3, abs=0.5)
    assert noise.mean() == pytest.approx(0.0, abs=0.3)
    assert np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1] < 0.02


def test_blur_has_the_deviation_that_imagenet_c_gives_it():
    """A bright point becomes a Gaussian of sigma 3 at severity 3."""
    image = np.zeros((61, 61, 3), np.uint8)
    image[20:41, 30] = 255  # a line: a point would drown in rounding
    profile = corrupt('gaussian_blur', image)[30, :, 0].astype(float)
    offsets = np.arange(61) - 30
    sigma = np.sqrt((profile * offsets ** 2).sum() / profile.sum())
    assert sigma == pytest.approx(3.0, abs=0.15)


def test_blur_keeps_flat_borders_flat():
    """No dark frame creeps in."""
    image = np.full((20, 20, 3), 77, np.uint8)
    np.testing.assert_array_equal(corrupt('gaussian_blur', image, 5), image)
