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
"""One camera picture and where and when it was taken."""

from dataclasses import dataclass

from mtl_perception.errors import ImageError
import numpy as np


@dataclass(frozen=True, eq=False)
class Frame:
    """
    A picture with its acquisition time and coordinate frame.

    :param image: uint8 array of shape ``[H, W, 3]`` in BGR order (OpenCV's), ``H, W >= 1``
    :param stamp_ns: acquisition time in nanoseconds since the epoch of the camera's clock
    :param frame_id: name of the camera's optical frame (REP 103)
    :raises ImageError: if the array has another type, number of axes or no pixels
    """

    image: np.ndarray
    stamp_ns: int = 0
    frame_id: str = ''

    def __post_init__(self):
        """Refuse anything that is not a colour picture."""
        image = self.image
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            kind = getattr(image, 'dtype', type(image).__name__)
            raise ImageError(f'expected a uint8 picture [H, W, 3], got {kind}')
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ImageError(
                f'expected a picture [H, W, 3] with at least one pixel, got {list(image.shape)}')

    @property
    def height(self) -> int:
        """Rows of the picture."""
        return self.image.shape[0]

    @property
    def width(self) -> int:
        """Columns of the picture."""
        return self.image.shape[1]
