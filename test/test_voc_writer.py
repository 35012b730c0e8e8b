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
"""The VOC writer: palette, box convention, whole files."""

from types import SimpleNamespace

from mtl_perception.data.voc import read_annotation, read_mask
from mtl_perception.data.voc_writer import voc_palette, write_annotation, write_mask
import numpy as np
from PIL import Image


def test_palette_is_the_challenges():
    """First colours and the void colour of PASCAL VOC 2012."""
    palette = voc_palette()
    assert palette[[0, 1, 2, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]


def test_mask_comes_back_as_ids(tmp_path):
    """The palette is for eyes; the index is the label."""
    mask = np.array([[0, 3, 255], [20, 1, 0]], np.uint8)
    write_mask(tmp_path / 'mask.png', mask)
    np.testing.assert_array_equal(read_mask(tmp_path / 'mask.png', (2, 3), 21), mask)
    assert Image.open(tmp_path / 'mask.png').mode == 'P'
    assert [path.name for path in tmp_path.iterdir()] == ['mask.png']


def test_box_edges_come_back(tmp_path):
    """Half-open pixel edges survive VOC's counting from 1 with the last pixel included."""
    box = SimpleNamespace(label='mug', box=(0, 4, 10, 5), truncated=True, occluded=False,
                          difficult=True)
    write_annotation(tmp_path / 'a.xml', 'set', 'a.jpg', (20, 30, 3), [box], 'kitchen_oak')
    boxes, class_ids, difficult = read_annotation(tmp_path / 'a.xml', ('bowl', 'mug'))
    assert boxes.tolist() == [[0, 4, 10, 5]]
    assert class_ids.tolist() == [2] and difficult.tolist() == [True]
    text = (tmp_path / 'a.xml').read_text()
    assert '<xmin>1</xmin>' in text and '<xmax>10</xmax>' in text
