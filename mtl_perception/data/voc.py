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
Pascal VOC's folder layout, for detection, segmentation and image classes.

``ImageSets/Main/<split>.txt`` names the pictures, ``JPEGImages/<name>.jpg`` holds them,
``Annotations/<name>.xml`` the boxes and ``SegmentationClass/<name>.png`` the class ids. VOC2012
lists the pictures that have masks in ``ImageSets/Segmentation``.
``ImageSets/Classification/<split>.csv`` (columns ``name,class``) adds an image class, which VOC
itself has not. A picture without an annotation, mask or row lacks that label.
"""

import csv
from pathlib import Path
from typing import Dict, List, Optional, Tuple
import xml.etree.ElementTree as ElementTree

from mtl_perception.card import ClassNames
from mtl_perception.data.sample import fit_boxes, read_picture, Sample
from mtl_perception.errors import DatasetError
from mtl_perception.recipe import TASKS
import numpy as np
from PIL import Image, UnidentifiedImageError

_VOC2012 = ('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow',
            'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa',
            'train', 'tvmonitor')

# VOC labels no picture as a whole; the head must have one name, and this one says so.
VOC_NAMES = ClassNames(detection=_VOC2012, segmentation=('background', *_VOC2012),
                       classification=('none',))


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DatasetError(f'{path}: expected a folder of a data set in VOC layout, got nothing; '
                           'render one with render_dataset or unpack VOC2012')
    return path


def _is_split(path: Path) -> bool:
    # VOC2012's <class>_train.txt has a second column, whether the class is seen.
    with open(path, encoding='utf-8') as file:
        return len(file.readline().split()) == 1


def read_split(root: Path, split: str) -> List[str]:
    """
    Return the names of a split's pictures, in the file's order.

    :param split: a list in ``ImageSets/Main``, or with its folder, as ``Segmentation/train``
    :raises DatasetError: if the split is missing or empty; the message lists those there are
    """
    lists = _folder(root) / 'ImageSets'
    path = lists / f'{split}.txt' if '/' in split else lists / 'Main' / f'{split}.txt'
    folder = _folder(path.parent)
    if not path.is_file():
        splits = ', '.join(sorted(file.stem for file in folder.glob('*.txt') if _is_split(file)))
        raise DatasetError(f'{folder}: expected a split of [{splits or "none"}], '
                           f'got {path.stem!r}')
    names = [line.split()[0] for line in path.read_text(encoding='utf-8').splitlines()
             if line.strip()]
    if not names:
        raise DatasetError(f'{path}: expected at least one name, got an empty split')
    return names


def read_image_classes(path: Path, names: Tuple[str, ...]) -> Dict[str, int]:
    """
    Return the image class of each picture that a CSV lists.

    :param path: with the header ``name,class``
    :param names: of the image classes
    :raises DatasetError: if the header or a class is another, or a picture has two classes
    """
    indices = {name: index for index, name in enumerate(names)}
    classes: Dict[str, int] = {}
    try:
        # Spreadsheets put a byte order mark in front.
        with open(path, newline='', encoding='utf-8-sig') as file:
            reader = csv.DictReader(file)
            if not {'name', 'class'} <= set(reader.fieldnames or ()):
                raise DatasetError(f'{path}: expected the columns name,class, '
                                   f'got {",".join(reader.fieldnames or ())}')
            for row in reader:
                name, image_class = row['name'], row['class']
                if image_class not in indices:
                    raise DatasetError(f'{path}: {name}: expected one of the {len(names)} image '
                                       f'classes, got {image_class!r}')
                if classes.setdefault(name, indices[image_class]) != indices[image_class]:
                    raise DatasetError(f'{path}: {name}: expected one class, got '
                                       f'{names[classes[name]]!r} and {image_class!r}')
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f'{path}: expected a CSV in UTF-8, got: {error}') from None
    return classes


def _edges(box: Optional[ElementTree.Element]) -> List[float]:
    x_min, y_min, x_max, y_max = (float(box.findtext(side))
                                  for side in ('xmin', 'ymin', 'xmax', 'ymax'))
    # VOC counts pixels from 1 and includes the last; edges of pixels count from 0.
    edges = [x_min - 1.0, y_min - 1.0, x_max, y_max]
    if not (np.isfinite(edges).all() and x_min <= x_max and y_min <= y_max):
        raise ValueError
    return edges


def read_annotation(path: Path, names: Tuple[str, ...]
                    ) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Return boxes, class ids and difficult flags of one annotation file.

    :param path: of the XML file
    :param names: of the detection classes
    :return: float32 ``[M, 4]`` xyxy, int64 ``[M]`` from 1, bool ``[M]``
    :raises DatasetError: if it is no annotation, or names a class that is not in ``names``
    """
    class_ids_by_name = {name: index + 1 for index, name in enumerate(names)}
    boxes, class_ids, difficult = [], [], []
    try:
        objects = ElementTree.parse(path).findall('object')
    except (ElementTree.ParseError, LookupError, OSError, ValueError) as error:  # encodings too
        raise DatasetError(f'{path}: expected a VOC annotation, got: {error}') from None
    for item in objects:
        name = item.findtext('name')
        if name not in class_ids_by_name:
            raise DatasetError(f'{path}: expected one of the {len(names)} detection classes, '
                               f'got {name!r}')
        try:
            boxes.append(_edges(item.find('bndbox')))
            difficult.append(bool(int(item.findtext('difficult', '0'))))
        except (AttributeError, TypeError, ValueError):
            raise DatasetError(f'{path}: {name}: expected bndbox with xmin <= xmax and '
                               'ymin <= ymax and difficult 0 or 1, got something else') from None
        class_ids.append(class_ids_by_name[name])
    return (np.array(boxes, np.float32).reshape(-1, 4), np.array(class_ids, np.int64),
            np.array(difficult, bool))


def read_mask(path: Path, shape: Tuple[int, int], classes: int) -> np.ndarray:
    """
    Return the class ids that a palette or grey PNG holds, uint8 ``[H, W]``.

    :param path: of the PNG
    :param shape: ``H, W`` of the picture
    :param classes: number of mask classes, background included
    :raises DatasetError: if it is no such picture, or holds an id beyond the classes
    """
    try:
        # OpenCV would turn the palette into colours; the index is the label.
        with Image.open(path) as file:
            mask = np.array(file)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DatasetError(f'{path}: expected a mask PNG, got: {error}') from None
    if mask.dtype != np.uint8 or mask.shape != shape:
        raise DatasetError(f'{path}: expected an 8-bit mask {list(shape)}, '
                           f'got {mask.dtype} {list(mask.shape)}; export ids, grey or palette, '
                           'not colours')
    largest = mask.max(initial=0, where=mask != 255)
    if largest >= classes:
        raise DatasetError(f'{path}: expected ids below {classes} or 255, got {largest}')
    return mask


class VocDataset:
    """
    The samples of one split.

    :param root: folder that holds ``JPEGImages`` and the others
    :param split: a list in ``ImageSets/Main``, or with its folder, as ``Segmentation/train``
    :param classes: names of the three heads
    :param tasks: whose labels are read; the files of the others may hold anything
    :raises DatasetError: if the folder or split is missing or empty, or a class is unknown

    Samples are read when asked for; reading one raises :class:`DatasetError` if its files are
    missing, damaged, or name an unknown class.
    """

    def __init__(self, root: Path, split: str, classes: ClassNames,
                 tasks: Tuple[str, ...] = TASKS):
        self.root = Path(root)
        self.split = split
        self.names = read_split(self.root, split)
        self._classes = classes
        self._tasks = tasks
        self._pictures = _folder(self.root / 'JPEGImages')
        places = self.root / 'ImageSets' / 'Classification' / f'{Path(split).name}.csv'
        self._image_classes = (read_image_classes(places, classes.classification)
                               if 'classification' in tasks and places.is_file() else {})

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read and return one sample."""
        name = self.names[index]
        image = read_picture(self._pictures / f'{name}.jpg')
        boxes = class_ids = difficult = mask = None
        annotation = self.root / 'Annotations' / f'{name}.xml'
        if 'detection' in self._tasks and annotation.is_file():
            boxes, class_ids, difficult = read_annotation(annotation, self._classes.detection)
            boxes = fit_boxes(boxes, image, lambda number: f'{annotation}: object {number + 1}')
        mask_path = self.root / 'SegmentationClass' / f'{name}.png'
        if 'segmentation' in self._tasks and mask_path.is_file():
            mask = read_mask(mask_path, image.shape[:2], len(self._classes.segmentation))
        return Sample(name, image, boxes, class_ids, difficult, mask,
                      self._image_classes.get(name))
