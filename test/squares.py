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
"""A tiny data set in VOC layout: coloured squares on grey, for tests that need files."""

from pathlib import Path

import cv2
from mtl_perception.household.classes import OBJECT_CLASSES, PLACES
import numpy as np
from PIL import Image

FOLDERS = ('JPEGImages', 'Annotations', 'SegmentationClass', 'ImageSets/Main',
           'ImageSets/Classification')
CLASSES = {'detection': list(OBJECT_CLASSES[:3]), 'classification': list(PLACES[:3])}
COLOURS = ((40, 40, 220), (40, 220, 40), (220, 40, 40))


def write_squares(root: Path, split: str, frames: int, side: int = 96, seed: int = 0) -> Path:
    """
    Write ``frames`` pictures with up to three squares each and return ``root``.

    A square's class is its colour, a picture's place the grey behind.

    :param root: of the data set, made if it is not there
    :param split: name of the list
    :param frames: number of pictures
    :param side: of a picture, pixels
    :param seed: of sizes and places
    """
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names, rows = [], ['name,class']
    for index in range(frames):
        name = f'{split}_{index:03d}'
        place = int(rng.integers(3))
        image = np.full((side, side, 3), 60 + 60 * place, np.uint8)
        mask = np.zeros((side, side), np.uint8)
        objects = ''
        for column in range(3):
            if rng.random() < 0.3:
                continue
            class_index = int(rng.integers(3))
            size = int(rng.integers(side // 6, side // 3))
            x, y = column * side // 3, int(rng.integers(0, side - size))
            image[y:y + size, x:x + size] = COLOURS[class_index]
            mask[y:y + size, x:x + size] = class_index + 1
            objects += (f'<object><name>{OBJECT_CLASSES[class_index]}</name><bndbox>'
                        f'<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + size}</xmax>'
                        f'<ymax>{y + size}</ymax></bndbox></object>')
        cv2.imwrite(str(root / 'JPEGImages' / f'{name}.jpg'), image)
        Image.fromarray(mask).save(root / 'SegmentationClass' / f'{name}.png')
        (root / 'Annotations' / f'{name}.xml').write_text(f'<annotation>{objects}</annotation>')
        names.append(name)
        rows.append(f'{name},{PLACES[place]}')
    (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(names) + '\n')
    (root / 'ImageSets' / 'Classification' / f'{split}.csv').write_text('\n'.join(rows) + '\n')
    return root
