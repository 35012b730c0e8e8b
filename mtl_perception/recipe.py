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
"""What a training run does, as written in ``config/train/*.yaml``."""

from dataclasses import asdict, dataclass, field, fields
import math
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Sequence, Tuple, Union

from mtl_perception.errors import ConfigError
import yaml

TASKS = ('detection', 'segmentation', 'classification')


def _require(condition: bool, name: str, expected: str, value: Any) -> None:
    if not condition:
        raise ConfigError(f'recipe: {name}: expected {expected}, got {value!r}')


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and low <= value <= high


def _is_count(value: Any, low: int) -> bool:
    return type(value) is int and value >= low


def _tasks(name: str, value: Any) -> Tuple[str, ...]:
    _require(isinstance(value, (list, tuple)) and len(value) > 0 and set(value) <= set(TASKS),
             name, f'some of {", ".join(TASKS)}', value)
    return tuple(task for task in TASKS if task in value)


@dataclass(frozen=True)
class Augmentation:
    """
    How strongly pictures are changed.

    :param flip: probability of mirroring, 0 to 1
    :param view: probability of cutting a window, 0 to 1
    :param aimed: probability that the window is laid to show a certain object, 0 to 1
    :param place_zoom: smallest zoom at which a picture keeps its image class, 0 to 4
    :param paste: probability of pasting objects of another picture, 0 to 1
    :param recolour: probability of another colour for each object, 0 to 1
    :param colour: probability of changing light and colour, 0 to 1
    :param degrade: probability of each of blur, noise, contrast, darkness and JPEG, 0 to 1
    """

    flip: float = 0.5
    view: float = 0.9
    aimed: float = 0.0
    place_zoom: float = 0.0
    paste: float = 0.0
    recolour: float = 0.0
    colour: float = 0.8
    degrade: float = 0.15

    def __post_init__(self):
        """Check every range."""
        for item in fields(self):
            most = 4 if item.name == 'place_zoom' else 1
            value = getattr(self, item.name)
            _require(_is_number(value, 0, most), f'augmentation.{item.name}',
                     f'a number from 0 to {most}', value)


@dataclass(frozen=True)
class Resolution:
    """
    A square input side, what it shows, and where in the run it begins.

    Narrow windows on a small input show objects at the size that they have in the whole picture
    on a large one, for a fraction of the cost.

    :param start: fraction of the steps, 0 to below 1
    :param side: pixels, a multiple of 32
    :param zoom: range of the window's longer side over the picture's, 0.1 to 4
    """

    start: float
    side: int
    zoom: Tuple[float, float] = (0.6, 1.5)

    def __post_init__(self):
        """Check both."""
        _require(_is_number(self.start, 0, 1) and self.start < 1, 'resolutions.start',
                 'a fraction from 0 to below 1', self.start)
        _require(_is_count(self.side, 32) and self.side % 32 == 0, 'resolutions.side',
                 'a multiple of 32', self.side)
        zoom = self.zoom
        _require(isinstance(zoom, (list, tuple)) and len(zoom) == 2
                 and all(_is_number(value, 0.1, 4) for value in zoom) and zoom[0] <= zoom[1],
                 'resolutions.zoom', 'two ascending numbers from 0.1 to 4', zoom)
        object.__setattr__(self, 'zoom', tuple(zoom))


@dataclass(frozen=True)
class Source:
    """
    Where pictures come from, and what is learnt from them.

    :param format: a key of ``mtl_perception.data.datasets.FORMATS``: voc, coco, folders or csv
    :param path: relative to the data's root, or absolute: the folder (voc, folders) or the file
        (coco, csv)
    :param split: a list in ImageSets/Main, or with its folder, such as ``Segmentation/train``;
        voc only
    :param images: folder of the pictures, relative to the data's root; empty: that of the JSON
        file; coco only
    :param tasks: whose labels are used
    :param share: of every batch, against the shares of the other sources, above 0
    :param frames: only the first so many pictures; 0 for all
    """

    format: str  # noqa: A003 the field's word
    path: str
    split: str = 'train'
    images: str = ''
    tasks: Tuple[str, ...] = TASKS
    share: float = 1.0
    frames: int = 0

    def __post_init__(self):
        """Check every field."""
        for name in ('format', 'path', 'split'):
            value = getattr(self, name)
            _require(isinstance(value, str) and value != '', f'sources.{name}',
                     'a name or path', value)
        _require(isinstance(self.images, str), 'sources.images', 'a path', self.images)
        object.__setattr__(self, 'tasks', _tasks('sources.tasks', self.tasks))
        _require(_is_number(self.share, 1e-6, 1e6), 'sources.share', 'a number above 0',
                 self.share)
        _require(_is_count(self.frames, 0), 'sources.frames', 'a whole number from 0',
                 self.frames)


@dataclass(frozen=True)
class Stage:
    """
    A part of a run that learns some of the tasks, and what keeps those that were learnt before.

    :param name: of the stage
    :param steps: optimiser steps; each stage has its own warm-up, schedule and resolutions
    :param tasks: whose labels are used
    :param freeze_norm: keep the batch norms' statistics as the stage found them
    :param replay: share of every batch that carries the labels of the tasks of earlier stages,
        0 to below 1
    :param replay_frames: pictures of each source that are kept for it
    :param distillation: weight of the loss that holds tasks to a teacher's answers (learning
        without forgetting, Li and Hoiem 2016); the teacher is the one that the recipe names for
        a task, else, for tasks of earlier stages, the network as the stage found it
    """

    name: str
    steps: int
    tasks: Tuple[str, ...] = TASKS
    freeze_norm: bool = False
    replay: float = 0.0
    replay_frames: int = 200
    distillation: float = 0.0

    def __post_init__(self):
        """Check every field."""
        _require(isinstance(self.name, str) and self.name != '', 'stages.name', 'a name',
                 self.name)
        for name in ('steps', 'replay_frames'):
            _require(_is_count(getattr(self, name), 1), f'stages.{name}',
                     'a whole number from 1', getattr(self, name))
        object.__setattr__(self, 'tasks', _tasks('stages.tasks', self.tasks))
        _require(type(self.freeze_norm) is bool, 'stages.freeze_norm', 'true or false',
                 self.freeze_norm)
        _require(_is_number(self.replay, 0, 0.99), 'stages.replay', 'a number from 0 to 0.99',
                 self.replay)
        _require(_is_number(self.distillation, 0, 1e6), 'stages.distillation',
                 'a number from 0', self.distillation)


@dataclass(frozen=True)
class Recipe:
    """
    A training run: its pictures, its network, and the stages in which it learns.

    :param name: of the weights that come out
    :param network: a key of ``mtl_perception.network.NETWORKS``
    :param classes: a key of ``mtl_perception.data.classes.CLASSES``, or the names themselves as
        ``detection``, ``segmentation`` (without background) and ``classification``
    :param sources: what is learnt from
    :param validation: what is watched; not used to learn
    :param stages: one after the other
    :param teachers: weights, a name in weights/ or a path, that a task is distilled from
    :param skip_bad: leave out pictures that cannot be read, instead of refusing to start
    :param input_side: side of the square input that the exported network takes
    :param start_from: weights to start from, a name in weights/ or a path; what has another shape
        there starts afresh. Empty: all starts afresh
    :param trunk: what the trunk starts from: ``imagenet``, torchvision's weights (downloads them),
        or weights of either network, a name in weights/ or a path. Empty: it starts afresh
    :param seed: of weights, order and augmentation
    :param batch_size: pictures a step
    :param resolutions: input sides over each stage, the first from 0
    :param learning_rate: peak of AdamW
    :param weight_decay: of AdamW, on weights of two or more dimensions
    :param warmup_steps: linear rise to the peak
    :param flat: fraction of a stage before the cosine fall to zero begins
    :param clip_norm: largest gradient norm
    :param norm_momentum: of the batch norms' running statistics
    :param ema_decay: of the averaged weights, which are what is validated and exported
    :param save_every: steps between saved states
    :param validate_every: steps between validations; each stage ends with one as well
    :param loss_weights: by the names of ``mtl_perception.losses.LossWeights``
    :param augmentation: how strongly pictures are changed
    :raises ConfigError: if a value is out of range
    """

    name: str
    network: str
    classes: Union[str, Mapping[str, Sequence[str]]]
    sources: Tuple[Source, ...]
    validation: Source
    stages: Tuple[Stage, ...]
    teachers: Mapping[str, str] = field(default_factory=dict)
    skip_bad: bool = False
    input_side: int = 512
    start_from: str = ''
    trunk: str = ''
    seed: int = 1
    batch_size: int = 16
    resolutions: Tuple[Resolution, ...] = (Resolution(0.0, 512),)
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    warmup_steps: int = 200
    flat: float = 0.5
    clip_norm: float = 10.0
    norm_momentum: float = 0.03
    ema_decay: float = 0.998
    save_every: int = 100
    validate_every: int = 1000
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    augmentation: Augmentation = Augmentation()

    def __post_init__(self):
        """Check every range once, here."""
        for name in ('name', 'network'):
            value = getattr(self, name)
            _require(isinstance(value, str) and value != '', name, 'a name', value)
        _require(isinstance(self.classes, (str, Mapping)), 'classes',
                 'a name, or lists of names for detection, segmentation and classification',
                 self.classes)
        for name in ('sources', 'stages'):
            _require(len(getattr(self, name)) > 0, name, 'at least one', 'none')
        names = [stage.name for stage in self.stages]
        _require(len(set(names)) == len(names), 'stages.name', 'different names', names)
        _require(isinstance(self.teachers, Mapping) and set(self.teachers) <= set(TASKS)
                 and all(isinstance(path, str) and path for path in self.teachers.values()),
                 'teachers', f'weights by task ({", ".join(TASKS)})', self.teachers)
        for name in ('batch_size', 'save_every', 'validate_every'):
            _require(_is_count(getattr(self, name), 1), name, 'a whole number from 1',
                     getattr(self, name))
        for name in ('seed', 'warmup_steps'):
            _require(_is_count(getattr(self, name), 0), name, 'a whole number from 0',
                     getattr(self, name))
        _require(_is_count(self.input_side, 32) and self.input_side % 32 == 0, 'input_side',
                 'a multiple of 32', self.input_side)
        for name in ('start_from', 'trunk'):
            _require(isinstance(getattr(self, name), str), name, 'a name or path',
                     getattr(self, name))
        _require(type(self.skip_bad) is bool, 'skip_bad', 'true or false', self.skip_bad)
        for name, low, high in (('learning_rate', 1e-8, 1), ('weight_decay', 0, 1),
                                ('flat', 0, 1), ('clip_norm', 1e-6, 1e6), ('ema_decay', 0, 1),
                                ('norm_momentum', 1e-4, 1)):
            _require(_is_number(getattr(self, name), low, high), name,
                     f'a number from {low} to {high}', getattr(self, name))
        starts = [resolution.start for resolution in self.resolutions]
        _require(len(starts) > 0 and starts[0] == 0 and starts == sorted(set(starts)),
                 'resolutions', 'ascending starts, the first 0', starts)
        _require(isinstance(self.loss_weights, Mapping)
                 and all(_is_number(value, 0, 1e6) for value in self.loss_weights.values()),
                 'loss_weights', 'a mapping of names to numbers from 0', self.loss_weights)

    @property
    def steps(self) -> int:
        """Return the optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Tuple[int, int]:
        """Return the number of the stage that ``step`` is in, from 0, and its first step."""
        start = 0
        for number, stage in enumerate(self.stages):
            if step < start + stage.steps:
                return number, start
            start += stage.steps
        raise IndexError(f'step {step} of {self.steps}')

    def earlier_tasks(self, number: int) -> Tuple[str, ...]:
        """Return the tasks that stages before this one learn and this one does not."""
        learnt = {task for stage in self.stages[:number] for task in stage.tasks}
        return tuple(task for task in TASKS
                     if task in learnt and task not in self.stages[number].tasks)

    def resolution_at(self, step: int) -> Resolution:
        """Return the input's side and windows at ``step``."""
        number, start = self.stage_at(step)
        return [resolution for resolution in self.resolutions
                if step - start >= resolution.start * self.stages[number].steps][-1]

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate at ``step``: in each stage warm-up, flat, cosine to zero."""
        number, start = self.stage_at(step)
        steps, step = self.stages[number].steps, step - start
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        flat = self.flat * steps
        fall = min(max(0.0, (step - flat) / max(1.0, steps - flat)), 1.0)
        return self.learning_rate * warmup * 0.5 * (1.0 + math.cos(math.pi * fall))


def _plain(value: Any) -> Any:
    """Return nested mappings and sequences as the dicts and lists that YAML and JSON know."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def recipe_to_json(recipe: Recipe) -> Dict[str, Any]:
    """Return ``recipe`` as the plain mapping that ``recipe_from_mapping`` reads."""
    return _plain(asdict(recipe))


def _build(cls, name: str, mapping: Any):
    _require(isinstance(mapping, Mapping), name, 'a mapping', mapping)
    unknown = sorted(set(mapping) - {item.name for item in fields(cls)})
    _require(not unknown, name, 'only known fields', unknown)
    try:
        return cls(**mapping)
    except TypeError as error:
        raise ConfigError(f'recipe: {name}: {error}') from None


PARTS = {'augmentation': Augmentation, 'validation': Source}
LISTS = {'resolutions': Resolution, 'sources': Source, 'stages': Stage}


def recipe_from_mapping(document: Any) -> Recipe:
    """
    Return the recipe that a parsed YAML file describes.

    :raises ConfigError: if a field is missing, unknown or out of range
    """
    _require(isinstance(document, Mapping), 'document', 'a mapping', type(document).__name__)
    document = dict(document)
    for name in document:
        value = document[name]
        if name in PARTS:
            document[name] = _build(PARTS[name], name, value)
        elif name in LISTS:
            _require(isinstance(value, (list, tuple)), name, 'a list', value)
            document[name] = tuple(_build(LISTS[name], name, item) for item in value)
    return _build(Recipe, 'document', document)


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f'{path}: expected a recipe, got: {error.strerror}') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'{path}: expected YAML, got: {reason}') from None


def load_recipe(path: Path, changes: Iterable[str] = ()) -> Recipe:
    """
    Read a recipe; one that says ``base: other.yaml`` changes only what it names of that one.

    :param path: of the YAML file
    :param changes: ``field=value`` each, the value in YAML, over what the file says
    :raises ConfigError: if the file is missing, no YAML, or no recipe
    """
    path = Path(path)
    document = _read(path)
    _require(isinstance(document, Mapping), 'document', 'a mapping', type(document).__name__)
    document = dict(document)
    if 'base' in document:
        base = path.parent / str(document.pop('base'))
        parent = _read(base)
        _require(isinstance(parent, Mapping) and 'base' not in parent, 'base',
                 'a recipe without a base', str(base))
        document = {**parent, **document}
    for change in changes:
        name, given, value = change.partition('=')
        _require(given == '=', '--set', 'field=value', change)
        try:
            document[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f'recipe: {name}: expected YAML, got {value!r}') from None
    return recipe_from_mapping(document)
