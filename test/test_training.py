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
    Augmentation, load_recipe, Recipe, recipe_from_mapping, recipe_to_json, Resolution)
from mtl_perception.training import card_of, loss_weights_of, RunFolder, train, Trainer
import pytest
from squares import write_squares
import torch
import yaml

RECIPE = Recipe(
    name='squares', network='unified', labels='household', validation_frames=4, input_side=96,
    steps=8, batch_size=4, resolutions=(Resolution(0.0, 64), Resolution(0.75, 96)),
    warmup_steps=2, save_every=2, validate_every=4,
    augmentation=Augmentation(zoom=(0.8, 1.2)))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Return a data set of 12 pictures to learn and 4 to watch."""
    root = tmp_path_factory.mktemp('data')
    write_squares(root, 'train', 12)
    return write_squares(root, 'val', 4, seed=1)


@pytest.fixture(autouse=True)
def one_thread():
    """Keep sums in one order, so that runs can be compared bit by bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
        'state.pt', 'metrics.jsonl', 'loss_curve.png', 'eval_metrics.png'}
    entries = [json.loads(line) for line in (finished / 'metrics.jsonl').read_text().splitlines()]
    assert [entry['step'] for entry in entries if entry['kind'] == 'validation'] == [4, 8]
    assert entries[-2]['images_per_second'] > 0
    assert (finished / 'loss_curve.png').read_bytes()[:4] == b'\x89PNG'


def test_the_loss_falls(data, tmp_path):
    """Thirty steps on twelve pictures are enough to see it learn."""
    recipe = replace(RECIPE, steps=30, learning_rate=3e-3)
    trainer = Trainer(recipe, VocDataset(data, 'train', card_of(recipe).classes),
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
    assert card.data['train_frames'] == 12


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


def test_shipped_recipe_is_valid():
    """And its weights' card follows from it."""
    recipe = load_recipe(Path(__file__).resolve().parents[1] / 'config/train/household.yaml')
    card = card_of(recipe)
    assert card.name == 'household'
    assert card.layout.channels == 76
    assert recipe_from_mapping(recipe_to_json(recipe)) == recipe


def test_schedule_rises_stays_and_falls():
    """Warm-up to the peak, flat to the middle, cosine to next to nothing."""
    recipe = replace(RECIPE, steps=1000, warmup_steps=100, flat=0.5, learning_rate=1.0)
    rates = [recipe.learning_rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 101)
    assert rates[100:501] == pytest.approx([1.0] * 401)
    assert rates[750] == pytest.approx(0.5)
    assert 0 <= rates[-1] < 1e-4
    assert rates[500:] == sorted(rates[500:], reverse=True)


def test_resolution_steps_up_where_the_recipe_says():
    """Three quarters at 64, the rest at 96."""
    assert [RECIPE.side_at(step) for step in range(8)] == [64] * 6 + [96] * 2


WRONG = {
    'unknown field': ({'colour': 1}, 'only known fields'),
    'missing field': ({'network': None}, 'network'),
    'steps': ({'steps': 0}, 'steps: expected a whole number from 1, got 0'),
    'side': ({'resolutions': [{'start': 0, 'side': 100}]}, 'multiple of 32'),
    'start': ({'resolutions': [{'start': 0.5, 'side': 64}]}, 'the first 0'),
    'rate': ({'learning_rate': float('nan')}, 'learning_rate'),
    'zoom': ({'augmentation': {'zoom': [2, 1]}}, 'ascending'),
    'list': ({'resolutions': 5}, 'expected a list'),
    'augmentation': ({'augmentation': {'spin': 1}}, 'only known fields'),
}


@pytest.mark.parametrize('name', WRONG)
def test_a_wrong_recipe_is_refused(name):
    """What is wrong is named."""
    change, message = WRONG[name]
    with pytest.raises(ConfigError, match=message) as caught:
        recipe_from_mapping({**recipe_to_json(RECIPE), **change})
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('change, message', (
    ({'network': 'huge'}, 'one of report, unified'), ({'labels': 'zoo'}, 'one of household')))
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
