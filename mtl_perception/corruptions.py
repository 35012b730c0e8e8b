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
"""
Common corruptions of a camera's pictures, at severities 1 to 5.

Kinds and parameters are those of ImageNet-C (Hendrycks and Dietterich 2019, arXiv:1903.12261) for
pictures of 224 pixels, applied to the source picture whatever its size. ImageNet-C has no
darkening; ``dark`` is a lamp that gives 60, 50, 40, 30 or 20% of its light.
"""

from dataclasses import dataclass
from typing import Tuple

import cv2
from mtl_perception.errors import ConfigError
import numpy as np

SEVERITIES = (1, 2, 3, 4, 5)

Levels = Tuple[float, float, float, float, float]


def _at(levels: Levels, severity: int) -> float:
    if severity not in SEVERITIES:
        raise ConfigError(f'severity: expected one of {SEVERITIES}, got {severity!r}')
    return levels[severity - 1]


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class GaussianBlur:
    """
    Blur as a lens out of focus does.

    :param sigmas: standard deviation of each severity, pixels
    """

    sigmas: Levels = (1.0, 2.0, 3.0, 4.0, 6.0)

    def __call__(self, image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
        """Return the picture blurred."""
        return cv2.GaussianBlur(image, (0, 0), _at(self.sigmas, severity),
                                borderType=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class GaussianNoise:
    """
    Add a sensor's noise, to each pixel and colour by itself.

    :param deviations: standard deviation of each severity, of values from 0 to 1
    """

    deviations: Levels = (0.08, 0.12, 0.18, 0.26, 0.38)

    def __call__(self, image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
        """Return the picture with noise drawn from ``rng``."""
        noise = rng.standard_normal(image.shape, np.float32)
        return _to_uint8(image + noise * np.float32(255.0 * _at(self.deviations, severity)))


@dataclass(frozen=True)
class Dark:
    """
    Take light away; the camera does not make up for it.

    :param lights: what is left at each severity, 0 to 1
    """

    lights: Levels = (0.6, 0.5, 0.4, 0.3, 0.2)

    def __call__(self, image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
        """Return the picture darkened."""
        return _to_uint8(image * np.float32(_at(self.lights, severity)))


@dataclass(frozen=True)
class Jpeg:
    """
    Compress as a narrow link demands.

    :param qualities: of each severity, 1 to 100
    """

    qualities: Levels = (25, 18, 15, 10, 7)

    def __call__(self, image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
        """Return the picture after JPEG."""
        _, data = cv2.imencode('.jpg', image,
                               [cv2.IMWRITE_JPEG_QUALITY, _at(self.qualities, severity)])
        return cv2.imdecode(data, cv2.IMREAD_COLOR)


@dataclass(frozen=True)
class LowContrast:
    """
    Pull all pixels to the mean of their colour, as fog and glare do.

    :param contrasts: what is left at each severity, 0 to 1
    """

    contrasts: Levels = (0.4, 0.3, 0.2, 0.1, 0.05)

    def __call__(self, image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
        """Return the picture with less contrast."""
        mean = image.mean(axis=(0, 1), dtype=np.float32)
        return _to_uint8((image - mean) * np.float32(_at(self.contrasts, severity)) + mean)


CORRUPTIONS = {
    'gaussian_blur': GaussianBlur(),
    'gaussian_noise': GaussianNoise(),
    'dark': Dark(),
    'jpeg': Jpeg(),
    'low_contrast': LowContrast(),
}
"""Each takes uint8 BGR ``[H, W, 3]``, a severity and a generator, and returns the like."""
