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
"""Write labelled pictures in the layout of the PASCAL VOC challenge."""

import os
from pathlib import Path
from typing import Sequence, Tuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image


def voc_palette() -> np.ndarray:
    """Return the colours of the PASCAL VOC masks, uint8 RGB ``[256, 3]``."""
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(
                np.uint8)
    return palette


def write_atomically(path: Path, content: bytes):
    """Write a file so that it is either whole or absent, also when the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    part.write_bytes(content)
    os.replace(part, path)


def write_mask(path: Path, mask: np.ndarray):
    """Write a class mask, uint8 ``[H, W]``, as a palette PNG."""
    image = Image.fromarray(mask, 'P')
    image.putpalette(voc_palette().tobytes())
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(part, format='PNG', optimize=False)
    os.replace(part, path)


def write_annotation(path: Path, folder: str, image_name: str, size: Tuple[int, int, int],
                     boxes: Sequence, place: str):
    """
    Write the XML of one picture.

    :param size: height, width and channels of the picture
    :param boxes: objects with ``label``, ``box`` (``x_min, y_min, x_max, y_max`` in whole
        pixels, last pixel excluded), ``truncated``, ``occluded`` and ``difficult``; VOC counts
        pixels from 1 and includes the last one
    :param place: label of the whole picture, kept as ``<place>``
    """
    root = ElementTree.Element('annotation')
    _add(root, folder=folder, filename=image_name)
    _add(ElementTree.SubElement(root, 'source'), database='mtl_perception household')
    height, width, depth = size
    _add(ElementTree.SubElement(root, 'size'), width=width, height=height, depth=depth)
    _add(root, segmented=1, place=place)
    for item in boxes:
        entry = ElementTree.SubElement(root, 'object')
        _add(entry, name=item.label, pose='Unspecified', truncated=int(item.truncated),
             occluded=int(item.occluded), difficult=int(item.difficult))
        x_min, y_min, x_max, y_max = item.box
        _add(ElementTree.SubElement(entry, 'bndbox'), xmin=x_min + 1, ymin=y_min + 1,
             xmax=x_max, ymax=y_max)
    ElementTree.indent(root)
    write_atomically(path, ElementTree.tostring(root, encoding='utf-8') + b'\n')


def _add(parent, **values):
    """Append one text element for each value."""
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)
