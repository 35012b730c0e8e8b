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
"""The label sets that a recipe can call by name, and how it can spell out its own."""

from typing import Any, Mapping, Sequence, Union

from mtl_perception.card import ClassNames
from mtl_perception.data.household import HOUSEHOLD_NAMES
from mtl_perception.data.voc import VOC_NAMES
from mtl_perception.errors import CheckpointError, ConfigError
from mtl_perception.recipe import TASKS

CLASSES = {'household': HOUSEHOLD_NAMES, 'voc2012': VOC_NAMES}

NOTHING = VOC_NAMES.classification
"""Stands for the classes of a task that a recipe does not have: a head needs one at least."""


def class_names(classes: Union[str, Mapping[str, Sequence[str]]]) -> ClassNames:
    """
    Return the names of the three heads.

    :param classes: a key of ``CLASSES``, or lists of names by task; the mask's are without the
        background, which is added, and are those of the detection if they are not given
    :raises ConfigError: if the name is unknown, or the lists are no lists of names
    """
    if isinstance(classes, str):
        if classes not in CLASSES:
            raise ConfigError(f'recipe: classes: expected one of {", ".join(sorted(CLASSES))} '
                              f'or lists of names, got {classes!r}')
        return CLASSES[classes]
    unknown = sorted(set(classes) - set(TASKS))
    if unknown or not classes:
        raise ConfigError(f'recipe: classes: expected lists for some of {", ".join(TASKS)}, '
                          f'got {unknown or "none"}')

    def names(task: str, default: Any = NOTHING) -> Any:
        return classes.get(task) or default
    try:
        return ClassNames(
            detection=names('detection'),
            segmentation=('background', *names('segmentation', names('detection'))),
            classification=names('classification'))
    except (CheckpointError, TypeError) as error:
        raise ConfigError(f'recipe: {error}') from None
