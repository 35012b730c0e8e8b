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
from typing import Optional

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


def read_picture(path: Path) -> np.ndarray:
    """
    Return the picture at ``path``, uint8 ``[H, W, 3]``, BGR.

    :raises DatasetError: if it is missing or no picture
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        found = 'something else' if path.is_file() else 'no file'
        raise DatasetError(f'{path}: expected a picture, got {found}; restore it or take its name '
                           'off the list')
    return image
