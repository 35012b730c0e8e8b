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
"""Weights folders: found by name or path, whole or refused."""

import json
import os
from pathlib import Path

from mtl_perception import checkpoint as module
from mtl_perception.card import Architecture, Card, ClassNames, ImageInput
from mtl_perception.checkpoint import (CARD, load_checkpoint, ONNX, SAFETENSORS, save_checkpoint,
                                       verified_bytes)
from mtl_perception.errors import CheckpointError
import pytest

TOY = Card('toy', Architecture('report', (32,)), ImageInput(64, 64),
           ClassNames(('cup',), ('background', 'cup'), ('kitchen',)))


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / 'toy', TOY, b'graph', b'parameters')
    return tmp_path / 'toy'


def message_of(function, *arguments):
    with pytest.raises(CheckpointError) as caught:
        function(*arguments)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_what_was_saved_is_loaded(folder):
    checkpoint = load_checkpoint(folder)
    assert checkpoint.card.classes == TOY.classes
    assert verified_bytes(checkpoint, ONNX) == b'graph'
    assert verified_bytes(checkpoint, SAFETENSORS) == b'parameters'
    assert sorted(os.listdir(folder.parent)) == ['toy'], 'nothing else is left behind'


def test_saving_again_replaces(folder):
    save_checkpoint(folder, TOY, b'better', b'parameters')
    assert verified_bytes(load_checkpoint(folder), ONNX) == b'better'
    assert sorted(os.listdir(folder.parent)) == ['toy']


def test_saving_never_replaces_something_else(tmp_path):
    (tmp_path / 'thesis').mkdir()
    (tmp_path / 'thesis' / 'chapter.tex').write_text('years of work')
    assert 'nothing was written' in message_of(
        save_checkpoint, tmp_path / 'thesis', TOY, b'graph', b'parameters')
    assert (tmp_path / 'thesis' / 'chapter.tex').read_text() == 'years of work'


def test_a_name_is_found_under_an_ament_prefix(folder, tmp_path, monkeypatch):
    share = tmp_path / 'prefix' / 'share' / 'mtl_perception' / 'weights'
    share.mkdir(parents=True)
    folder.rename(share / 'toy')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path / "prefix"}')
    assert load_checkpoint('toy').folder == share / 'toy'


@pytest.mark.parametrize('name', ['', 'no_such_weights', '/no/such/folder', '..', 'a\0b',
                                  '~nobody_here/x', 'x' * 5000, '../' * 3000, '\ud800', '/var/x'])
def test_an_unknown_name_says_what_to_pass(name):
    assert 'expected' in message_of(load_checkpoint, name)


@pytest.mark.parametrize('content', [
    b'', b'{', b'[]', b'\xff\xfe', b'[' * 100000, b'{"format": 1}',
])
def test_a_wrong_card_is_one_line(folder, content):
    (folder / CARD).write_bytes(content)
    assert CARD in message_of(load_checkpoint, folder)


def test_a_card_without_digests_is_refused(folder):
    document = json.loads((folder / CARD).read_text())
    document['files'] = {}
    (folder / CARD).write_text(json.dumps(document))
    assert 'digest of model.onnx' in message_of(load_checkpoint, folder)


@pytest.mark.parametrize('file_name', [ONNX, SAFETENSORS])
@pytest.mark.parametrize('content', [b'', b'graph ', b'parameterz'])
def test_altered_bytes_are_refused(folder, file_name, content):
    (folder / file_name).write_bytes(content)
    assert 'expected sha256' in message_of(verified_bytes, load_checkpoint(folder), file_name)


def test_a_missing_file_is_named(folder):
    (folder / ONNX).unlink()
    assert ONNX in message_of(verified_bytes, load_checkpoint(folder), ONNX)


def test_an_enormous_file_is_not_read(folder, monkeypatch):
    checkpoint = load_checkpoint(folder)
    monkeypatch.setattr(module, 'MAX_MODEL_BYTES', 4)
    monkeypatch.setattr(Path, 'read_bytes', lambda _: pytest.fail('read'))
    assert 'at most 4 bytes' in message_of(verified_bytes, checkpoint, ONNX)


def test_an_enormous_card_is_not_read(folder, monkeypatch):
    os.truncate(folder / CARD, module.MAX_CARD_BYTES + 1)
    monkeypatch.setattr(Path, 'read_bytes', lambda _: pytest.fail('read'))
    assert 'at most 1048576 bytes' in message_of(load_checkpoint, folder)


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: path.symlink_to('/dev/zero')])
@pytest.mark.parametrize('file_name', [CARD, ONNX])
def test_what_is_no_file_is_not_read(folder, file_name, make):
    """Neither a folder nor what never ends: a pipe nobody writes to, a device."""
    (folder / file_name).unlink()
    make(folder / file_name)
    assert 'expected a file' in message_of(
        lambda: verified_bytes(load_checkpoint(folder), file_name))


def test_a_link_to_the_same_bytes_is_as_good(folder, tmp_path):
    """As colcon's --symlink-install makes them: what counts is the digest."""
    (folder / ONNX).rename(tmp_path / 'elsewhere')
    (folder / ONNX).symlink_to(tmp_path / 'elsewhere')
    assert verified_bytes(load_checkpoint(folder), ONNX) == b'graph'
