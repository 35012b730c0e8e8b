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
"""What travels with the weights: everything that inference must share with training."""

from dataclasses import dataclass, field, replace
import re
import reprlib
from typing import Any, Mapping, Tuple

from mtl_perception.errors import CheckpointError

FORMAT = 1
MAX_CLASSES = 10000
MAX_NAME = 200
MAX_ARGUMENT = 4096


def _check(condition: bool, name: str, expected: str, value: Any) -> None:
    if not condition:
        raise CheckpointError(f'card: {name}: expected {expected}, got {reprlib.repr(value)}')


def _is_name(value: Any) -> bool:
    """Tell whether a value can stand in a topic or in one line of a log."""
    return isinstance(value, str) and 1 <= len(value) <= MAX_NAME and value.isprintable()


def _names(name: str, value: Any) -> Tuple[str, ...]:
    _check(isinstance(value, (list, tuple)) and 1 <= len(value) <= MAX_CLASSES
           and all(_is_name(item) for item in value) and len(set(value)) == len(value),
           name, f'a list of 1 to {MAX_CLASSES} different names of one line', value)
    return tuple(value)


@dataclass(frozen=True)
class ImageInput:
    """
    The picture that the network takes.

    :param height: rows, a multiple of 32, 32 to 4096
    :param width: columns, likewise
    :param mean: of each of R, G, B, in 0 to 255
    :param std: of each of R, G, B, in 0 to 255, above 0
    :param pad_value: grey of the letterbox border, 0 to 255
    """

    height: int
    width: int
    mean: Tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: Tuple[float, float, float] = (58.395, 57.12, 57.375)
    pad_value: int = 114

    def __post_init__(self):
        """Check sizes and statistics."""
        for name in ('height', 'width'):
            value = getattr(self, name)
            _check(type(value) is int and 32 <= value <= 4096 and value % 32 == 0,
                   f'input.{name}', 'a multiple of 32 from 32 to 4096', value)
        for name, low in (('mean', 0.0), ('std', 1e-6)):
            value = getattr(self, name)
            _check(isinstance(value, (list, tuple)) and len(value) == 3
                   and all(isinstance(v, (int, float)) and low <= v <= 255.0 for v in value),
                   f'input.{name}', f'three numbers from {low} to 255', value)
            object.__setattr__(self, name, tuple(float(v) for v in value))
        _check(type(self.pad_value) is int and 0 <= self.pad_value <= 255,
               'input.pad_value', 'a whole number from 0 to 255', self.pad_value)


@dataclass(frozen=True)
class ClassNames:
    """
    The names that the three heads can say.

    :param detection: names of ids 1, 2, ...; 0 is background, as in the mask
    :param segmentation: names of mask ids 0, 1, ...; the first is the background
    :param classification: names of image classes 0, 1, ...
    """

    detection: Tuple[str, ...]
    segmentation: Tuple[str, ...]
    classification: Tuple[str, ...]

    def __post_init__(self):
        """Hold each list to different, non-empty names; mask ids must stay below 255."""
        for name in ('detection', 'segmentation', 'classification'):
            object.__setattr__(self, name, _names(f'classes.{name}', getattr(self, name)))
        _check(2 <= len(self.segmentation) <= 255, 'classes.segmentation',
               'background and 1 to 254 classes', len(self.segmentation))


@dataclass(frozen=True)
class HeadLayout:
    """
    Where each head reads the prediction tensor ``[B, C, N]``.

    The channels are 4 distances (left, top, right, bottom of the box from the cell's centre, in
    strides), 1 quality logit, then one logit for each detection, segmentation and classification
    class. The cells are those of all levels, finest first, row by row.

    :param detection: number of detection classes
    :param segmentation: number of mask classes, background included
    :param classification: number of image classes
    """

    detection: int
    segmentation: int
    classification: int

    @property
    def channels(self) -> int:
        """Return all channels of the prediction tensor."""
        return 5 + self.detection + self.segmentation + self.classification

    @property
    def distance_channels(self) -> slice:
        """Return the channels of the box distances."""
        return slice(0, 4)

    @property
    def quality_channel(self) -> int:
        """Return the channel of the quality logit."""
        return 4

    @property
    def detection_channels(self) -> slice:
        """Return the channels of the detection class logits."""
        return slice(5, 5 + self.detection)

    @property
    def segmentation_channels(self) -> slice:
        """Return the channels of the mask class logits."""
        start = 5 + self.detection
        return slice(start, start + self.segmentation)

    @property
    def classification_channels(self) -> slice:
        """Return the channels of the image class logits."""
        start = 5 + self.detection + self.segmentation
        return slice(start, start + self.classification)


@dataclass(frozen=True)
class Architecture:
    """
    Which network the weights belong to.

    :param name: a key of ``mtl_perception.network.NETWORKS``
    :param strides: of the prediction tensor's levels, finest first, powers of two from 4 to 64
    :param arguments: keyword arguments of the network's constructor beyond the head layout;
        numbers up to 4096
    """

    name: str
    strides: Tuple[int, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        """Check names and strides."""
        _check(isinstance(self.name, str) and re.fullmatch(r'[a-z][a-z0-9_]*', self.name)
               is not None, 'architecture.name', 'a lower-case name', self.name)
        _check(isinstance(self.strides, (list, tuple)) and len(self.strides) >= 1
               and all(type(s) is int and s in (4, 8, 16, 32, 64) for s in self.strides)
               and list(self.strides) == sorted(set(self.strides)),
               'architecture.strides', 'ascending powers of two from 4 to 64', self.strides)
        object.__setattr__(self, 'strides', tuple(self.strides))
        _check(isinstance(self.arguments, Mapping)
               and all(-MAX_ARGUMENT <= value <= MAX_ARGUMENT for value in
                       self.arguments.values() if isinstance(value, (int, float))),
               'architecture.arguments', f'a mapping with numbers up to {MAX_ARGUMENT}',
               self.arguments)


@dataclass(frozen=True)
class FileDigest:
    """
    Size and SHA-256 of one file of a weights folder.

    :param sha256: 64 lower-case hexadecimal digits
    :param bytes: length of the file
    """

    sha256: str
    bytes: int  # noqa: A003 the name in card.json

    def __post_init__(self):
        """Check the digest's form."""
        _check(isinstance(self.sha256, str)
               and re.fullmatch(r'[0-9a-f]{64}', self.sha256) is not None,
               'files.sha256', '64 hexadecimal digits', self.sha256)
        _check(type(self.bytes) is int and self.bytes > 0, 'files.bytes', 'a length above 0',
               self.bytes)


@dataclass(frozen=True)
class Card:
    """
    The card of a weights folder.

    :param name: of the weights
    :param architecture: which network
    :param input: which picture it is trained and scored with; cameras' pictures of other
        proportions go through in their own, of no more pixels
    :param classes: what it can say
    :param files: digest of each file beside the card, by file name
    :param metrics: figures on named splits, for people
    :param training: recipe, seeds and budget, for people
    :param data: provenance, for people
    :raises CheckpointError: if a value is out of range
    """

    name: str
    architecture: Architecture
    input: ImageInput  # noqa: A003 the name in card.json
    classes: ClassNames
    files: Mapping[str, FileDigest] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        """Hold the strides to the input size."""
        _check(_is_name(self.name), 'name', 'a name of one line', self.name)
        for name in ('metrics', 'training', 'data'):
            _check(isinstance(getattr(self, name), Mapping), name, 'an object',
                   getattr(self, name))
        coarsest = self.architecture.strides[-1]
        _check(self.input.height % coarsest == 0 and self.input.width % coarsest == 0,
               'input', f'a size divisible by the coarsest stride {coarsest}',
               (self.input.height, self.input.width))

    @property
    def layout(self) -> HeadLayout:
        """Return the channel layout that the class lists imply."""
        return HeadLayout(len(self.classes.detection), len(self.classes.segmentation),
                          len(self.classes.classification))

    def with_input(self, height: int, width: int) -> 'Card':
        """
        Return the card of the same network on pictures of another size.

        :param height: rows, a multiple of 32
        :param width: columns, likewise
        """
        return replace(self, input=replace(self.input, height=height, width=width))

    @property
    def cells(self) -> int:
        """Return the number of cells of all levels."""
        return sum((self.input.height // stride) * (self.input.width // stride)
                   for stride in self.architecture.strides)


def _section(mapping: Any, name: str) -> Mapping[str, Any]:
    value = mapping.get(name)
    _check(isinstance(value, Mapping), name, 'an object', value)
    return value


def _build(cls, name: str, mapping: Mapping[str, Any]):
    try:
        return cls(**mapping)
    except TypeError as error:
        # Names the field that is missing or unknown, as it stands in the file.
        reason = ' '.join(str(error).split())[:MAX_NAME]
        raise CheckpointError(f'card: {name}: {reason}') from None


def card_from_json(document: Any) -> Card:
    """
    Return the card that a parsed ``card.json`` describes.

    :raises CheckpointError: if a field is missing, unknown or out of range
    """
    _check(isinstance(document, Mapping), 'document', 'an object', type(document).__name__)
    _check(document.get('format') == FORMAT, 'format', str(FORMAT), document.get('format'))
    known = {'format', 'name', 'architecture', 'input', 'classes', 'files', 'metrics', 'training',
             'data'}
    unknown = sorted(set(document) - known)
    _check(not unknown, 'fields', 'only ' + ', '.join(sorted(known)), unknown)
    files = {}
    for file_name, digest in _section(document, 'files').items():
        _check(re.fullmatch(r'\w[\w.-]{0,99}', file_name, re.ASCII) is not None, 'files',
               'names of files beside the card', file_name)
        _check(isinstance(digest, Mapping), f'files.{file_name}', 'an object', digest)
        files[file_name] = _build(FileDigest, f'files.{file_name}', digest)
    return Card(
        name=document.get('name'),
        architecture=_build(Architecture, 'architecture', _section(document, 'architecture')),
        input=_build(ImageInput, 'input', _section(document, 'input')),
        classes=_build(ClassNames, 'classes', _section(document, 'classes')),
        files=files,
        metrics=document.get('metrics', {}), training=document.get('training', {}),
        data=document.get('data', {}))


def card_to_json(card: Card) -> Mapping[str, Any]:
    """Return ``card`` as the plain mapping that ``card_from_json`` reads."""
    return {
        'format': FORMAT,
        'name': card.name,
        'architecture': {'name': card.architecture.name,
                         'strides': list(card.architecture.strides),
                         'arguments': dict(card.architecture.arguments)},
        'input': {'height': card.input.height, 'width': card.input.width,
                  'mean': list(card.input.mean), 'std': list(card.input.std),
                  'pad_value': card.input.pad_value},
        'classes': {'detection': list(card.classes.detection),
                    'segmentation': list(card.classes.segmentation),
                    'classification': list(card.classes.classification)},
        'files': {name: {'sha256': digest.sha256, 'bytes': digest.bytes}
                  for name, digest in card.files.items()},
        'metrics': dict(card.metrics),
        'training': dict(card.training),
        'data': dict(card.data),
    }
