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
"""Boxes from the JSON of COCO's instances."""

from itertools import chain
import json
import math
from pathlib import Path
from typing import Any, Dict, List, Mapping

from mtl_perception.card import ClassNames
from mtl_perception.data.sample import fit_boxes, read_picture, Sample
from mtl_perception.errors import DatasetError
import numpy as np


def _load(path: Path) -> Mapping[str, List[Mapping[str, Any]]]:
    """Return the document, held to lists of objects under the three names."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f'{path}: expected the JSON of COCO instances, '
                           f'got: {error.strerror}') from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f'{path}: expected JSON, got: {error}') from None
    for name in ('images', 'annotations', 'categories'):
        entries = document.get(name) if isinstance(document, dict) else None
        if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
            raise DatasetError(f'{path}: expected a list of objects under {name!r} as in COCO '
                               'instances, got something else')
    return document


def _by_id(path: Path, document: Mapping, name: str, field: str) -> Dict[Any, Any]:
    """Return a field of each image or category by its id."""
    values: Dict[Any, Any] = {}
    for number, entry in enumerate(document[name]):
        key, value = entry.get('id'), entry.get(field)
        if not (isinstance(key, (int, str)) and isinstance(value, str) and value):
            raise DatasetError(f'{path}: {name}[{number}]: expected an id and a {field}, '
                               f'got {key!r} and {value!r}')
        if key in values:
            raise DatasetError(f'{path}: {name}[{number}]: expected different ids, '
                               f'got {key!r} again')
        values[key] = value
    return values


def _is_box(value: Any) -> bool:
    return (isinstance(value, list) and len(value) == 4
            and all(type(edge) in (int, float) and math.isfinite(edge) for edge in value))


class CocoDataset:
    """
    The pictures of a COCO instances file, with their boxes.

    :param path: of the JSON file
    :param images: folder that the file names in it are relative to
    :param classes: names of the three heads; a category is the detection class of its name
    :raises DatasetError: if the file is missing or no COCO instances, or an annotation's category
        is no detection class; categories that annotate nothing may have any name

    A picture without annotations has no objects. What is marked ``iscrowd`` or ``ignore`` is
    difficult. Samples are read when asked for; reading one raises :class:`DatasetError` if its
    picture is missing, damaged or of another size, or a box has no area or leaves the picture.
    """

    def __init__(self, path: Path, images: Path, classes: ClassNames):
        self.path = Path(path)
        self._images = Path(images)
        document = _load(self.path)
        names = _by_id(self.path, document, 'images', 'file_name')
        if not names:
            raise DatasetError(f'{self.path}: expected at least one image, got none')
        self.names = list(names.values())
        self._sizes = [(entry.get('width'), entry.get('height')) for entry in document['images']]
        self._collect(document, {key: number for number, key in enumerate(names)}, classes)

    def _collect(self, document: Mapping, positions: Mapping[Any, int], classes: ClassNames):
        """Keep what the annotations say as flat arrays, those of an image side by side."""
        categories = _by_id(self.path, document, 'categories', 'name')
        ids_by_name = {name: index + 1 for index, name in enumerate(classes.detection)}
        annotations = document['annotations']
        unknown = set()
        for number, entry in enumerate(annotations):
            where = f'{self.path}: annotation {entry.get("id", f"number {number}")}'
            for field, known in (('image_id', positions), ('category_id', categories)):
                key = entry.get(field)
                if not (isinstance(key, (int, str)) and key in known):
                    raise DatasetError(f'{where}: expected the {field} of one of '
                                       f'{len(known)}, got {key!r}')
            if not _is_box(entry.get('bbox')):
                raise DatasetError(f'{where}: expected bbox with x, y, width and height, '
                                   f'got {entry.get("bbox")!r}')
            if categories[entry['category_id']] not in ids_by_name:
                unknown.add(categories[entry['category_id']])
        if unknown:
            raise DatasetError(f'{self.path}: expected categories of the {len(ids_by_name)} '
                               f'detection classes, got {", ".join(sorted(unknown))}')
        annotations = sorted(annotations, key=lambda entry: positions[entry['image_id']])
        count = len(annotations)
        boxes = np.fromiter(chain.from_iterable(entry['bbox'] for entry in annotations),
                            np.float64, 4 * count).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        self._boxes = boxes
        self._class_ids = np.fromiter((ids_by_name[categories[entry['category_id']]]
                                       for entry in annotations), np.int64, count)
        self._difficult = np.fromiter((bool(entry.get('iscrowd') or entry.get('ignore'))
                                       for entry in annotations), bool, count)
        self._annotation_ids = [entry.get('id') for entry in annotations]
        owners = [positions[entry['image_id']] for entry in annotations]
        self._starts = np.searchsorted(owners, np.arange(len(positions) + 1))

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read and return one sample."""
        index = range(len(self))[index]
        name = self.names[index]
        image = read_picture(self._images / name)
        size = image.shape[1], image.shape[0]
        if self._sizes[index] not in (size, (None, None)):
            width, height = self._sizes[index]
            raise DatasetError(f'{self._images / name}: expected {width}x{height} as in '
                               f'{self.path}, got {size[0]}x{size[1]}')
        start, stop = self._starts[index:index + 2]
        boxes = fit_boxes(
            self._boxes[start:stop], image,
            lambda number: f'{self.path}: annotation {self._annotation_ids[start + number]}')
        return Sample(name, image, boxes, self._class_ids[start:stop],
                      self._difficult[start:stop])
