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
"""The formats that a recipe's sources may have."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Sequence, Tuple

from mtl_perception.card import ClassNames
from mtl_perception.data.coco import CocoDataset
from mtl_perception.data.folders import (
    ClassificationDataset, list_class_csv, list_class_folders)
from mtl_perception.data.sample import Sample
from mtl_perception.data.voc import VocDataset
from mtl_perception.errors import ConfigError
from mtl_perception.recipe import Source, TASKS


@dataclass(frozen=True)
class Format:
    """
    One way to lay out a data set.

    :param tasks: that it can have labels for
    :param open: returns a source's samples, given the data's root and the names of the heads
    """

    tasks: Tuple[str, ...]
    open: Callable[[Source, Path, ClassNames], Sequence[Sample]]  # noqa: A003 the verb


def _open_voc(source: Source, root: Path, classes: ClassNames) -> VocDataset:
    return VocDataset(root / source.path, source.split, classes, source.tasks)


def _open_coco(source: Source, root: Path, classes: ClassNames) -> CocoDataset:
    path = root / source.path
    return CocoDataset(path, root / source.images if source.images else path.parent, classes)


def _open_folders(source: Source, root: Path, classes: ClassNames) -> ClassificationDataset:
    return ClassificationDataset(list_class_folders(root / source.path, classes.classification))


def _open_csv(source: Source, root: Path, classes: ClassNames) -> ClassificationDataset:
    return ClassificationDataset(list_class_csv(root / source.path, classes.classification))


FORMATS = {
    'voc': Format(TASKS, _open_voc),
    'coco': Format(('detection',), _open_coco),
    'folders': Format(('classification',), _open_folders),
    'csv': Format(('classification',), _open_csv),
}


class KeptLabels:
    """
    A data set's first pictures with the labels of some tasks; the other labels are None.

    :param dataset: of samples
    :param tasks: whose labels are kept
    :param frames: only the first so many; 0, or more than there are, for all
    """

    def __init__(self, dataset: Sequence[Sample], tasks: Sequence[str], frames: int = 0):
        self._dataset = dataset
        self._numbers = range(len(dataset))[:frames or None]
        self._dropped = {}
        if 'detection' not in tasks:
            self._dropped.update(boxes=None, class_ids=None, difficult=None)
        if 'segmentation' not in tasks:
            self._dropped.update(mask=None)
        if 'classification' not in tasks:
            self._dropped.update(image_class=None)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._numbers)

    def __getitem__(self, index: int) -> Sample:
        """Read and return one sample."""
        return replace(self._dataset[self._numbers[index]], **self._dropped)


def tasks_of(source: Source) -> Tuple[str, ...]:
    """
    Return the tasks that a source's pictures may have labels for.

    :raises ConfigError: if the format is unknown, or cannot have labels for a task asked for
    """
    if source.format not in FORMATS:
        raise ConfigError(f'recipe: sources: {source.path}: expected a format of '
                          f'{", ".join(FORMATS)}, got {source.format!r}')
    able = FORMATS[source.format].tasks
    if source.tasks == TASKS:  # nothing was asked for in particular
        return able
    beyond = [task for task in source.tasks if task not in able]
    if beyond:
        raise ConfigError(f'recipe: sources: {source.path}: expected tasks of {", ".join(able)}, '
                          f'which is what {source.format} can have, got {", ".join(beyond)}')
    return source.tasks


def open_source(source: Source, root: Path, classes: ClassNames) -> KeptLabels:
    """
    Return the samples of a recipe's source.

    :param root: folder that the source's paths are relative to
    :param classes: names of the three heads
    :raises ConfigError: if the format is unknown, or cannot have labels for a task asked for
    :raises DatasetError: if the data set is missing, empty, or none of that format
    """
    tasks = tasks_of(source)
    return KeptLabels(FORMATS[source.format].open(source, Path(root), classes), tasks,
                      source.frames)
