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
"""Draw boxes, masks and places of a split as they are on disk."""

from pathlib import Path
from xml.etree import ElementTree

import cv2
from mtl_perception.overlay import colorize_mask
from mtl_perception.prediction import BACKGROUND
import numpy as np
from PIL import Image

_TILE = 320
_COLUMNS = 6


def draw_contact_sheet(root: Path, split: str, tiles: int = 36) -> Path:
    """
    Write ``contact_sheet_<split>.png`` from the files of a VOC folder.

    :param tiles: number of pictures, taken evenly over the split
    :return: the file
    """
    stems = (root / 'ImageSets' / 'Main' / f'{split}.txt').read_text().split()
    chosen = np.unique(np.linspace(0, len(stems) - 1, min(tiles, len(stems))).astype(int))
    drawn = [_draw(root, stems[at]) for at in chosen]
    drawn += [np.zeros_like(drawn[0])] * (-len(drawn) % _COLUMNS)
    sheet = np.vstack([
        np.hstack(drawn[at:at + _COLUMNS]) for at in range(0, len(drawn), _COLUMNS)])
    file = root / f'contact_sheet_{split}.png'
    cv2.imwrite(str(file), sheet)
    return file


def _draw(root, stem):
    """Return one picture with its truth drawn, uint8 BGR ``[320, 320, 3]``."""
    image = cv2.imread(str(root / 'JPEGImages' / f'{stem}.jpg'))
    mask = np.asarray(Image.open(root / 'SegmentationClass' / f'{stem}.png'))
    labelled = mask != BACKGROUND
    colours = colorize_mask(mask)[..., ::-1]
    image[labelled] = (0.6 * image[labelled] + 0.4 * colours[labelled]).astype(np.uint8)
    scale = _TILE / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.zeros((_TILE, _TILE, 3), np.uint8)
    tile[:small.shape[0], :small.shape[1]] = small
    annotation = ElementTree.parse(root / 'Annotations' / f'{stem}.xml').getroot()
    for entry in annotation.iter('object'):
        corners = [int(entry.find('bndbox').find(tag).text)
                   for tag in ('xmin', 'ymin', 'xmax', 'ymax')]
        x_min, y_min, x_max, y_max = (int(value * scale) for value in corners)
        hard = entry.find('difficult').text == '1'
        cv2.rectangle(tile, (x_min, y_min), (x_max, y_max),
                      (0, 0, 255) if hard else (0, 255, 0), 1)
        cv2.putText(tile, entry.find('name').text, (x_min, max(y_min - 2, 8)),
                    cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.putText(tile, annotation.find('place').text, (3, _TILE - 5), cv2.FONT_HERSHEY_SIMPLEX,
                0.4, (0, 255, 255), 1, cv2.LINE_AA)
    return tile
