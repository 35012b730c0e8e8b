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
"""Image classes as people's machines write them."""

import cv2
from mtl_perception.data.folders import (
    ClassificationDataset, list_class_csv, list_class_folders)
from mtl_perception.errors import DatasetError
import numpy as np
import pytest

NAMES = ('kitchen', 'floor')


def write_picture(path):
    """Write a small picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


def test_what_lies_about_is_left_alone(tmp_path):
    """Hidden folders are no classes, and only pictures are pictures, in any case."""
    write_picture(tmp_path / 'floor' / 'b.JPG')
    write_picture(tmp_path / 'floor' / 'a.png')
    (tmp_path / 'floor' / 'notes.txt').write_text('a floor')
    (tmp_path / '.ipynb_checkpoints').mkdir()
    (tmp_path / 'README.md').write_text('two classes')
    assert list_class_folders(tmp_path, NAMES) == [
        (tmp_path / 'floor' / 'a.png', 1), (tmp_path / 'floor' / 'b.JPG', 1)]


def test_a_spreadsheets_csv(tmp_path):
    """A byte order mark, quotes, carriage returns and more columns do not matter."""
    write_picture(tmp_path / 'x, y.png')
    (tmp_path / 'a.csv').write_bytes(
        '\ufeffname,note,class\r\n"x, y.png",first,floor\r\n'.encode())
    dataset = ClassificationDataset(list_class_csv(tmp_path / 'a.csv', NAMES))
    assert [sample.image_class for sample in dataset] == [1]
    assert dataset[0].image.shape == (8, 8, 3)


BREAKS = {
    'no rows': ('name,class\n', 'at least one row'),
    'no header': ('a.png,floor\n', 'expected the columns name,class, got a.png,floor'),
    'short row': ('name,class\na.png\n', 'a.png: expected one of the 2 image classes, got None'),
    'unknown class': ('name,class\na.png,attic\n', "got 'attic'"),
    'two classes': ('name,class\na.png,floor\na.png,kitchen\n',
                    "a.png: expected one class, got 'floor' and 'kitchen'"),
}


@pytest.mark.parametrize('name', BREAKS)
def test_what_is_wrong_in_a_csv_is_one_clear_line(tmp_path, name):
    """Each with the path."""
    text, message = BREAKS[name]
    (tmp_path / 'a.csv').write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        list_class_csv(tmp_path / 'a.csv', NAMES)
    assert '\n' not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_picture_that_is_not_there_is_named_when_read(tmp_path):
    """A CSV may be older than its pictures."""
    (tmp_path / 'a.csv').write_text('name,class\ngone.png,floor\n')
    dataset = ClassificationDataset(list_class_csv(tmp_path / 'a.csv', NAMES))
    with pytest.raises(DatasetError, match='gone.png: expected a picture, got no file'):
        dataset[0]
