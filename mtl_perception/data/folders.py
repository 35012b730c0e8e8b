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
"""Image classes as a folder a class, or as a CSV of paths."""

from pathlib import Path
from typing import List, Tuple

from mtl_perception.data.sample import read_picture, Sample
from mtl_perception.data.voc import read_image_classes
from mtl_perception.errors import DatasetError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')


def list_class_folders(root: Path, names: Tuple[str, ...]) -> List[Tuple[Path, int]]:
    """
    Return path and class of every picture in ``root/<class>/``, sorted.

    Folders whose name begins with a dot are left alone.

    :param names: of the image classes; a class without a folder has no pictures
    :raises DatasetError: if there is no such folder, a folder is no class, or no picture is found
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f'{root}: expected a folder with a folder a class, got nothing')
    folders = sorted(path for path in root.iterdir()
                     if path.is_dir() and not path.name.startswith('.'))
    unknown = [folder.name for folder in folders if folder.name not in names]
    if unknown:
        raise DatasetError(f'{root}: expected folders named after the {len(names)} image '
                           f'classes, got {unknown[0]!r}')
    items = [(path, names.index(folder.name)) for folder in folders
             for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
    if not items:
        raise DatasetError(f'{root}: expected pictures in folders named after the classes, '
                           'got none')
    return items


def list_class_csv(path: Path, names: Tuple[str, ...]) -> List[Tuple[Path, int]]:
    """
    Return path and class of every row of a CSV with the header ``name,class``.

    :param path: of the CSV; names are paths relative to its folder
    :param names: of the image classes
    :raises DatasetError: if the file is missing or empty, or its header or a class is another
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f'{path}: expected a CSV with the columns name,class, got no file')
    items = [(path.parent / name, index)
             for name, index in read_image_classes(path, names).items()]
    if not items:
        raise DatasetError(f'{path}: expected at least one row, got none')
    return items


class ClassificationDataset:
    """
    Samples that have an image class and no other label.

    :param items: path and class of each picture, from one of the two functions above
    """

    def __init__(self, items: List[Tuple[Path, int]]):
        self._items = list(items)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._items)

    def __getitem__(self, index: int) -> Sample:
        """Read and return one sample."""
        path, image_class = self._items[index]
        return Sample(str(path), read_picture(path), image_class=image_class)
