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
"""One labelled picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import cv2
from mtl_perception.errors import DatasetError
import numpy as np


@dataclass(frozen=True, eq=False)
class Sample:
    """
    A picture and the labels that it has; None is a label that the data set lacks.

    :param name: of the picture within its data set
    :param image: uint8 ``[H, W, 3]``, BGR
    :param boxes: float32 ``[M, 4]`` xyxy pixels; pixel (0, 0) covers (0, 0) to (1, 1)
    :param class_ids: int64 ``[M]``; 1 is the first detection class
    :param difficult: bool ``[M]``, objects that evaluation neither asks for nor punishes
    :param mask: uint8 ``[H, W]`` class ids, 255 where unlabelled
    :param image_class: 0 is the first image class
    """

    name: str
    image: np.ndarray
    boxes: Optional[np.ndarray] = None
    class_ids: Optional[np.ndarray] = None
    difficult: Optional[np.ndarray] = None
    mask: Optional[np.ndarray] = None
    image_class: Optional[int] = None


def _is_whole_jpeg(data: bytes) -> bool:
    # The end marker counts behind the headers only: a thumbnail in them has one of its own.
    position = 2
    while data[position:position + 1] == b'\xff' and data[position + 1:position + 2] != b'\xda':
        position += 2 + int.from_bytes(data[position + 2:position + 4], 'big')
    return data.find(b'\xff\xd9', position) >= 0


def read_picture(path: Path) -> np.ndarray:
    """
    Return the picture at ``path``, uint8 ``[H, W, 3]``, BGR, upright as its EXIF tag says.

    :raises DatasetError: if it is missing, no picture, or cut off
    """
    image, found = None, 'something else'
    try:
        data = path.read_bytes()
        # OpenCV fills what a cut-off JPEG lacks with grey and says nothing; PNG it refuses.
        if data.startswith(b'\xff\xd8') and not _is_whole_jpeg(data):
            found = 'a JPEG that is cut off'
        elif data:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except FileNotFoundError:
        found = 'no file'
    except OSError as error:
        found = f'an error: {error.strerror}'
    except cv2.error as error:  # more pixels than OpenCV takes
        found = f'an error: {error.err}'
    if image is None:
        raise DatasetError(f'{path}: expected a picture, got {found}; restore it or take its name '
                           'off the list')
    return image


def fit_boxes(boxes: np.ndarray, image: np.ndarray, name: Callable[[int], str]) -> np.ndarray:
    """
    Return the boxes cut to the picture; annotators and rounding leave it by up to a pixel.

    :param boxes: ``[M, 4]`` xyxy pixels
    :param image: ``[H, W, 3]`` that they belong to
    :param name: returns where box ``i`` is written, for the error
    :return: float32 ``[M, 4]``
    :raises DatasetError: if a box has no area or leaves the picture by more
    """
    height, width = image.shape[:2]
    fitted = np.clip(boxes, 0, np.array([width, height, width, height], np.float32),
                     dtype=np.float32)
    wrong = (np.abs(fitted - boxes) > 1).any(axis=1) | (fitted[:, 2:] <= fitted[:, :2]).any(axis=1)
    if wrong.any():
        index = int(wrong.argmax())
        x_min, y_min, x_max, y_max = (round(float(edge), 2) for edge in boxes[index])
        raise DatasetError(f'{name(index)}: expected a box with an area inside the picture of '
                           f'{width}x{height}, got x {x_min} to {x_max}, y {y_min} to {y_max}')
    return fitted
