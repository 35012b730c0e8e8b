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
from typing import Any, Dict, Mapping, Tuple

from mtl_perception.errors import ConfigError
import yaml


def _require(condition: bool, name: str, expected: str, value: Any) -> None:
    if not condition:
        raise ConfigError(f'recipe: {name}: expected {expected}, got {value!r}')


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and low <= value <= high


def _is_count(value: Any, low: int) -> bool:
    return type(value) is int and value >= low


@dataclass(frozen=True)
class Augmentation:
    """
    How strongly pictures are changed.

    :param flip: probability of mirroring, 0 to 1
    :param zoom: range of the window's longer side over the picture's, 0.1 to 4
    :param view: probability of cutting a window, 0 to 1
    :param colour: probability of changing light and colour, 0 to 1
    :param degrade: probability of each of blur, noise and JPEG, 0 to 1
    """

    flip: float = 0.5
    zoom: Tuple[float, float] = (0.6, 1.5)
    view: float = 0.9
    colour: float = 0.8
    degrade: float = 0.15

    def __post_init__(self):
        """Check every range."""
        for name in ('flip', 'view', 'colour', 'degrade'):
            value = getattr(self, name)
            _require(_is_number(value, 0, 1), f'augmentation.{name}', 'a number from 0 to 1',
                     value)
        zoom = self.zoom
        _require(isinstance(zoom, (list, tuple)) and len(zoom) == 2
                 and all(_is_number(value, 0.1, 4) for value in zoom) and zoom[0] <= zoom[1],
                 'augmentation.zoom', 'two ascending numbers from 0.1 to 4', zoom)
        object.__setattr__(self, 'zoom', tuple(zoom))


@dataclass(frozen=True)
class Resolution:
    """
    A square input side and where in the run it begins.

    :param start: fraction of the steps, 0 to below 1
    :param side: pixels, a multiple of 32
    """

    start: float
    side: int

    def __post_init__(self):
        """Check both."""
        _require(_is_number(self.start, 0, 1) and self.start < 1, 'resolutions.start',
                 'a fraction from 0 to below 1', self.start)
        _require(_is_count(self.side, 32) and self.side % 32 == 0, 'resolutions.side',
                 'a multiple of 32', self.side)


@dataclass(frozen=True)
class Recipe:
    """
    A joint training of the three tasks.

    :param name: of the weights that come out
    :param network: a key of ``mtl_perception.network.NETWORKS``
    :param labels: a key of ``mtl_perception.training.LABELS``
    :param train_split: split that is learnt
    :param validation_split: split that is watched
    :param validation_frames: its first so many pictures
    :param input_side: side of the square input that the exported network takes
    :param pretrained: start the trunk from torchvision's ImageNet weights (downloads them)
    :param seed: of weights, order and augmentation
    :param steps: optimiser steps
    :param batch_size: pictures a step
    :param resolutions: input sides over the run, the first from 0
    :param learning_rate: peak of AdamW
    :param weight_decay: of AdamW, on weights of two or more dimensions
    :param warmup_steps: linear rise to the peak
    :param flat: fraction of the steps before the cosine fall to zero begins
    :param clip_norm: largest gradient norm
    :param norm_momentum: of the batch norms' running statistics
    :param ema_decay: of the averaged weights, which are what is validated and exported
    :param save_every: steps between saved states
    :param validate_every: steps between validations
    :param loss_weights: by the names of ``mtl_perception.losses.LossWeights``
    :param augmentation: how strongly pictures are changed
    :raises ConfigError: if a value is out of range
    """

    name: str
    network: str
    labels: str
    train_split: str = 'train'
    validation_split: str = 'val'
    validation_frames: int = 100
    input_side: int = 512
    pretrained: bool = False
    seed: int = 1
    steps: int = 5000
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
        for name in ('name', 'network', 'labels', 'train_split', 'validation_split'):
            value = getattr(self, name)
            _require(isinstance(value, str) and value != '', name, 'a name', value)
        for name in ('validation_frames', 'steps', 'batch_size', 'save_every', 'validate_every'):
            _require(_is_count(getattr(self, name), 1), name, 'a whole number from 1',
                     getattr(self, name))
        for name in ('seed', 'warmup_steps'):
            _require(_is_count(getattr(self, name), 0), name, 'a whole number from 0',
                     getattr(self, name))
        _require(_is_count(self.input_side, 32) and self.input_side % 32 == 0, 'input_side',
                 'a multiple of 32', self.input_side)
        _require(type(self.pretrained) is bool, 'pretrained', 'true or false', self.pretrained)
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

    def side_at(self, step: int) -> int:
        """Return the input's side at ``step``."""
        return [resolution.side for resolution in self.resolutions
                if step >= resolution.start * self.steps][-1]

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate at ``step``: warm-up, flat, cosine to zero."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        start = self.flat * self.steps
        fall = min(max(0.0, (step - start) / max(1.0, self.steps - start)), 1.0)
        return self.learning_rate * warmup * 0.5 * (1.0 + math.cos(math.pi * fall))


def recipe_to_json(recipe: Recipe) -> Dict[str, Any]:
    """Return ``recipe`` as the plain mapping that ``recipe_from_mapping`` reads."""
    document = asdict(recipe)
    document['resolutions'] = [asdict(resolution) for resolution in recipe.resolutions]
    document['augmentation']['zoom'] = list(recipe.augmentation.zoom)
    document['loss_weights'] = dict(recipe.loss_weights)
    return document


def _build(cls, name: str, mapping: Any):
    _require(isinstance(mapping, Mapping), name, 'a mapping', mapping)
    unknown = sorted(set(mapping) - {item.name for item in fields(cls)})
    _require(not unknown, name, 'only known fields', unknown)
    try:
        return cls(**mapping)
    except TypeError as error:
        raise ConfigError(f'recipe: {name}: {error}') from None


def recipe_from_mapping(document: Any) -> Recipe:
    """
    Return the recipe that a parsed YAML file describes.

    :raises ConfigError: if a field is missing, unknown or out of range
    """
    _require(isinstance(document, Mapping), 'document', 'a mapping', type(document).__name__)
    document = dict(document)
    if 'resolutions' in document:
        steps = document['resolutions']
        _require(isinstance(steps, (list, tuple)), 'resolutions', 'a list', steps)
        document['resolutions'] = tuple(_build(Resolution, 'resolutions', step) for step in steps)
    if 'augmentation' in document:
        document['augmentation'] = _build(Augmentation, 'augmentation', document['augmentation'])
    return _build(Recipe, 'document', document)


def load_recipe(path: Path) -> Recipe:
    """
    Read a recipe.

    :raises ConfigError: if the file is missing, no YAML, or no recipe
    """
    try:
        document = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f'{path}: expected a recipe, got: {error.strerror}') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'{path}: expected YAML, got: {reason}') from None
    return recipe_from_mapping(document)
