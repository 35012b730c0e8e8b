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
"""Two processes over gloo train as one does."""

import os
from pathlib import Path
import subprocess
import sys

from mtl_perception.distributed import choose_device
from mtl_perception.errors import DeviceError
from mtl_perception.network import build_network
from mtl_perception.recipe import (
    Augmentation, Recipe, recipe_to_json, Resolution, Source, Stage)
from mtl_perception.run_folder import RunFolder
from mtl_perception.training import card_of
import pytest
from squares import CLASSES, write_squares
import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]
# With the norms' statistics fixed and no Dice, the loss is a sum over samples: what two processes
# make of halves of a batch must be what one makes of the whole.
RECIPE = Recipe(
    name='shared', network='unified', classes=CLASSES, sources=(Source('voc', '.'),),
    validation=Source('voc', '.', 'val'), stages=(Stage('joint', 6, freeze_norm=True),),
    input_side=64, batch_size=8, resolutions=(Resolution(0.0, 64, (0.8, 1.2)),), warmup_steps=2,
    learning_rate=1e-3, save_every=3, validate_every=100, loss_weights={'dice': 0.0},
    augmentation=Augmentation(view=0.5))
TORCHRUN = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2')


def run(launcher, data, output):
    """Train in processes of their own and return the run's folder."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [sys.executable, *launcher, '-m', 'mtl_perception.cli.train', str(data / 'recipe.yaml'),
         '--data', str(data), '--output', str(output), '--workers', '0', '--device', 'cpu'],
        env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return RunFolder(output)


def test_two_processes_give_the_losses_of_one(tmp_path):
    """The same batches, the same losses, the same weights; the first process writes alone."""
    write_squares(tmp_path, 'train', 16)
    write_squares(tmp_path, 'val', 2, seed=1)
    (tmp_path / 'recipe.yaml').write_text(yaml.safe_dump(recipe_to_json(RECIPE)))
    one = run((), tmp_path, tmp_path / 'one')
    two = run(TORCHRUN, tmp_path, tmp_path / 'two')
    first, second = (folder.read_log() for folder in (one, two))
    assert [entry['kind'] for entry in second] == ['train', 'validation']
    for name in ('box', 'quality', 'detection', 'segmentation', 'classification', 'total'):
        assert second[0][name] == pytest.approx(first[0][name], rel=2e-3), name
        assert first[0][name] > 0
    first, second = (folder.read_state()['network'] for folder in (one, two))
    torch.manual_seed(RECIPE.seed)
    start = build_network(card_of(RECIPE)).state_dict()
    moved = (first['predict.weight'] - start['predict.weight']).norm()
    assert (first['predict.weight'] - second['predict.weight']).norm() < 0.1 * moved


@pytest.mark.parametrize('name', ('tpu', 'cuda:x', 'cuda:99'))
def test_a_device_that_is_not_there_is_refused(name):
    """Before anything is read."""
    with pytest.raises(DeviceError):
        choose_device(name)


def test_auto_takes_a_gpu_where_there_is_one():
    """And says cpu where there is none."""
    expected = 'cuda' if torch.cuda.device_count() else 'cpu'
    assert choose_device('auto').type == expected
    assert choose_device('cpu').type == 'cpu'
