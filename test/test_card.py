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
"""The card: what is read is what was written, and nothing else passes."""

import copy
import json

from mtl_perception.card import (Architecture, Card, card_from_json, card_to_json, ClassNames,
                                 FileDigest, HeadLayout, ImageInput)
from mtl_perception.errors import CheckpointError
import pytest

CARD = Card(
    'toy', Architecture('report', (32,), {'width': 256}), ImageInput(512, 640),
    ClassNames(('cup',), ('background', 'cup'), ('kitchen', 'study')),
    {'model.onnx': FileDigest('0' * 64, 12)}, {'mAP50': 0.5}, {'seed': 1}, {'split': 'test'})


def document():
    return json.loads(json.dumps(card_to_json(CARD)))


def test_a_card_survives_json():
    assert card_from_json(document()) == CARD


def test_the_reports_channels():
    layout = HeadLayout(detection=20, segmentation=21, classification=30)
    assert layout.channels == 76
    assert (layout.detection_channels, layout.segmentation_channels,
            layout.classification_channels) == (slice(5, 25), slice(25, 46), slice(46, 76))


def test_cells_of_all_levels():
    card = Card('toy', Architecture('unified', (8, 16, 32)), ImageInput(512, 512), CARD.classes)
    assert card.cells == 64 * 64 + 32 * 32 + 16 * 16


@pytest.mark.parametrize(('path', 'value', 'words'), [
    (['format'], 2, 'format'),
    (['name'], '', 'name'),
    (['input', 'height'], 500, 'multiple of 32'),
    (['input', 'height'], True, 'multiple of 32'),
    (['input', 'width'], 1 << 20, 'multiple of 32'),
    (['input', 'std'], [0, 1, 1], 'input.std'),
    (['input', 'mean'], [1, 2], 'input.mean'),
    (['input', 'mean'], [1, 2, float('nan')], 'input.mean'),
    (['input', 'colour'], 'RGB', 'colour'),
    (['architecture', 'strides'], [32, 8], 'strides'),
    (['architecture', 'strides'], [], 'strides'),
    (['architecture', 'name'], '../x', 'architecture.name'),
    (['classes', 'detection'], [], 'classes.detection'),
    (['classes', 'detection'], ['a', 'a'], 'different'),
    (['classes', 'segmentation'], ['background'], 'classes.segmentation'),
    (['classes', 'classification'], 'kitchen', 'classes.classification'),
    (['files', 'model.onnx', 'sha256'], 'xyz', 'sha256'),
    (['files', 'model.onnx', 'bytes'], -1, 'bytes'),
    (['files', 'model.onnx'], [], 'files.model.onnx'),
    (['classes'], None, 'classes'),
    (['surprise'], 1, 'surprise'),
    (['name'], 'two\nlines', 'one line'),
    (['architecture', 'strides'], [32.0], 'strides'),
    (['architecture', 'strides'], [[32]], 'strides'),
    (['architecture', 'arguments'], {'blocks': 10**12}, 'arguments'),
    (['architecture', 'arguments'], {'blocks': float('nan')}, 'arguments'),
    (['input', 'height'], 64.0, 'multiple of 32'),
    (['input', 'mean'], [10**400, 0, 0], 'input.mean'),
    (['input', 'two\nlines'], 1, 'two lines'),
    (['classes', 'detection'], ['a\x1b[2Jb'], 'one line'),
    (['classes', 'detection'], ['\ud800'], 'one line'),
    (['classes', 'detection'], ['x' * 201], 'one line'),
    (['classes', 'detection'], [str(i) for i in range(10001)], '10000'),
    (['files', '../../.bashrc'], {'sha256': '0' * 64, 'bytes': 1}, 'beside the card'),
    (['files', '/etc/passwd'], {'sha256': '0' * 64, 'bytes': 1}, 'beside the card'),
    (['files', 'a\nb'], {'sha256': '0' * 64, 'bytes': 1}, 'beside the card'),
    (['metrics'], [], 'metrics'),
    (['training'], 'x' * 100000, 'training'),
])
def test_a_wrong_field_is_named(path, value, words):
    wrong = document()
    parent = wrong
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    with pytest.raises(CheckpointError, match=words) as caught:
        card_from_json(wrong)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize('key', ['name', 'architecture', 'input', 'classes', 'files', 'format'])
def test_a_missing_field_is_named(key):
    wrong = copy.deepcopy(document())
    del wrong[key]
    with pytest.raises(CheckpointError, match=key):
        card_from_json(wrong)


@pytest.mark.parametrize('value', [None, [], 'card', 3])
def test_a_card_is_an_object(value):
    with pytest.raises(CheckpointError, match='object'):
        card_from_json(value)
