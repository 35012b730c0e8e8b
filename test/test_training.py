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
"""A run learns, is reproducible, and survives being killed."""

from dataclasses import replace
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.cli import export as export_command
from mtl_perception.cli import train as train_command
from mtl_perception.data.voc import VocDataset
from mtl_perception.errors import ConfigError
from mtl_perception.recipe import (
    Augmentation, Recipe, recipe_from_mapping, recipe_to_json, Resolution, Source, Stage)
from mtl_perception.run_folder import RunFolder
from mtl_perception.training import card_of, loss_weights_of, train, Trainer
import pytest
from squares import CLASSES, write_squares
import torch
import yaml

RECIPE = Recipe(
    name='squares', network='unified', classes=CLASSES, sources=(Source('voc', '.'),),
    validation=Source('voc', '.', 'val'), stages=(Stage('joint', 8),), input_side=96,
    batch_size=4, resolutions=(Resolution(0.0, 64, (0.8, 1.2)), Resolution(0.75, 96, (0.8, 1.2))),
    warmup_steps=2, save_every=2, validate_every=4, augmentation=Augmentation(paste=0.5))

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Return a data set of 12 pictures to learn and 4 to watch."""
    root = tmp_path_factory.mktemp('data')
    write_squares(root, 'train', 12)
    return write_squares(root, 'val', 4, seed=1)


@pytest.fixture(scope='module')
def finished(data, tmp_path_factory):
    """Return the folder of a whole run."""
    torch.set_num_threads(1)
    return train(RECIPE, data, tmp_path_factory.mktemp('runs') / 'whole', workers=0)


def parameters(folder):
    """Return the averaged weights of a run."""
    return RunFolder(folder).read_state()['average']


def same(first, second):
    """Tell whether two sets of weights are equal bit by bit."""
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_state_log_and_curves(finished):
    """Everything a person looks at is there, and the log is plain JSON lines."""
    assert {path.name for path in finished.iterdir()} == {
        'state.pt', 'metrics.jsonl', 'loss_curve.png', 'eval_metrics.png', 'report.md'}
    entries = [json.loads(line) for line in (finished / 'metrics.jsonl').read_text().splitlines()]
    assert [entry['step'] for entry in entries if entry['kind'] == 'validation'] == [4, 8]
    assert entries[-2]['images_per_second'] > 0
    assert (finished / 'loss_curve.png').read_bytes()[:4] == b'\x89PNG'


def test_the_loss_falls(data, tmp_path):
    """Thirty steps on twelve pictures are enough to see it learn."""
    recipe = replace(RECIPE, stages=(Stage('joint', 30),), learning_rate=3e-3,
                     augmentation=Augmentation(flip=0, view=0, colour=0, degrade=0))
    trainer = Trainer(recipe, [VocDataset(data, 'train', card_of(recipe).classes)],
                      RunFolder(tmp_path), {})
    totals = [trainer.learn(batch)['total'] for batch in trainer.batches(workers=0)]
    assert sum(totals[-5:]) < 0.7 * sum(totals[:5])


def test_a_finished_run_stays_finished(data, finished):
    """The same command again changes no weight."""
    before = parameters(finished)
    train(RECIPE, data, finished, workers=0)
    assert same(parameters(finished), before)


def test_workers_change_nothing(data, finished, tmp_path):
    """Batches depend on seed and step alone, whoever makes them."""
    assert same(parameters(train(RECIPE, data, tmp_path / 'run', workers=1)),
                parameters(finished))


def test_another_seed_is_another_run(data, finished, tmp_path):
    """The comparison above could fail."""
    other = train(replace(RECIPE, seed=2), data, tmp_path / 'run', workers=0)
    assert not same(parameters(other), parameters(finished))


def test_killed_at_any_moment_it_goes_on(data, finished, tmp_path):
    """Kill -9 after the first saved state; the same command ends as if nothing had been."""
    (tmp_path / 'recipe.yaml').write_text(yaml.safe_dump(recipe_to_json(RECIPE)))
    command = [sys.executable, '-c',
               'import sys; from mtl_perception.cli.train import main; sys.exit(main())',
               str(tmp_path / 'recipe.yaml'), '--data', str(data), '--output',
               str(tmp_path / 'run'), '--threads', '1', '--workers', '0']
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).resolve().parents[1])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / 'run' / 'state.pt').is_file() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert subprocess.run(command, env=environment, capture_output=True,
                          check=False).returncode == 0
    assert same(parameters(tmp_path / 'run'), parameters(finished))
    steps = [entry['step'] for entry in RunFolder(tmp_path / 'run').read_log()
             if entry['kind'] == 'validation']
    assert steps == [4, 8]


def test_the_run_exports_with_its_provenance(finished, tmp_path, capsys):
    """The card says recipe, steps and data; the weights load."""
    status = export_command.main([str(finished), '--output', str(tmp_path / 'weights')])
    assert status == 0, capsys.readouterr().err
    card = load_checkpoint(tmp_path / 'weights').card
    assert card.name == 'squares'
    assert card.training['step'] == 8
    assert card.training['samples_seen'] == 32
    assert recipe_from_mapping(card.training['recipe']) == RECIPE
    assert card.data['sources'][0]['frames'] == 12


def test_a_run_of_another_recipe_is_not_gone_on_with(data, finished):
    """Nor is it overwritten."""
    before = parameters(finished)
    with pytest.raises(ConfigError, match='a run of this recipe'):
        train(replace(RECIPE, learning_rate=1e-4), data, finished, workers=0)
    assert same(parameters(finished), before)


def test_a_damaged_state_is_one_clear_line(data, tmp_path):
    """No traceback, and no pickle is run."""
    (tmp_path / 'state.pt').write_bytes(b'no state')
    with pytest.raises(ConfigError, match='expected a state that train saved') as caught:
        train(RECIPE, data, tmp_path, workers=0)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('change, message', (
    ({'network': 'huge'}, 'one of report, unified'), ({'classes': 'zoo'}, 'one of household'),
    ({'classes': {'boxes': ['a']}}, 'lists for some of'),
    ({'classes': {'detection': 'cup'}}, 'different names')))
def test_unknown_names_are_refused(change, message):
    """A table's keys are listed."""
    with pytest.raises(ConfigError, match=message):
        card_of(replace(RECIPE, **change))


def test_an_unknown_part_of_the_loss_is_refused():
    """A misspelt weight would silently not count."""
    with pytest.raises(ConfigError, match='boxes'):
        loss_weights_of(replace(RECIPE, loss_weights={'boxes': 1.0}))


def test_command_refuses_bad_input(tmp_path, capsys):
    """A recipe that is not there, one that is no YAML, data that are not there."""
    recipe = tmp_path / 'recipe.yaml'
    assert train_command.main([str(recipe), '--data', str(tmp_path)]) == 2
    recipe.write_text('steps: [')
    assert train_command.main([str(recipe), '--data', str(tmp_path)]) == 2
    recipe.write_text(yaml.safe_dump(recipe_to_json(RECIPE)))
    assert train_command.main([str(recipe), '--data', str(tmp_path / 'nowhere')]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all(line.startswith('error: ') for line in errors)
