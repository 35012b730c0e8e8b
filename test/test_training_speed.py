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
"""The training benchmark times the trainer's own step, and finds a loader that is too slow."""

import json
import time

from mtl_perception.cli.training_speed import main
from mtl_perception.data.datasets import open_source
from mtl_perception.losses import MultiTaskLoss
from mtl_perception.recipe import Augmentation, Recipe, recipe_to_json, Resolution, Source, Stage
from mtl_perception.training import card_of, Trainer
from mtl_perception.training_speed import measure_side, PARTS, WARM_UP_STEPS
import numpy as np
import pytest
from squares import write_squares
import yaml

RECIPE = Recipe(
    name='squares', network='unified', classes='household', sources=(Source('voc', '.'),),
    validation=Source('voc', '.', 'val'), stages=(Stage('joint', 1000),), batch_size=2,
    resolutions=(Resolution(0.0, 64, (0.5, 0.8)), Resolution(0.5, 256, (0.9, 1.1))),
    start_from='weights that are not there', augmentation=Augmentation(degrade=0.0))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp('data'), 'train', 8)


def samples(data):
    return open_source(RECIPE.sources[0], data, card_of(RECIPE).classes)


class SlowSamples:
    """A data set that takes a known time for each picture."""

    def __init__(self, dataset, seconds):
        self._dataset, self._seconds = dataset, seconds

    def __len__(self):
        return len(self._dataset)

    def __getitem__(self, index):
        time.sleep(self._seconds)
        return self._dataset[index]


def test_the_parts_are_the_steps(data):
    """Each step is timed once, in parts that leave nothing out, and the loader runs as often."""
    batches = []
    start = time.perf_counter()
    speed = measure_side(RECIPE, [samples(data)], 64, 3, workers=1,
                         on_batch=lambda: batches.append(1))
    wall = time.perf_counter() - start
    assert tuple(speed.seconds) == PARTS
    assert all(values.shape == (3,) and (values > 0).all() for values in speed.seconds.values())
    assert speed.loader_seconds.shape == (3,)
    assert sum(values.sum() for values in speed.seconds.values()) < wall
    assert len(batches) == 2 * (WARM_UP_STEPS + 3)
    assert speed.peak_bytes > 50e6 and speed.loader_peak_bytes > 50e6
    found = speed.summary()
    assert sum(found['shares'].values()) == pytest.approx(1)
    steps = sum(speed.seconds.values())
    assert found['images_per_second'] == pytest.approx(2 / np.median(steps))


def test_a_slow_loader_is_found_out(data):
    """0.1 s a picture: the rate of the loader says so, and the steps wait."""
    speed = measure_side(RECIPE, [SlowSamples(samples(data), 0.1)], 64, 2, workers=0)
    assert (speed.loader_seconds >= 0.2).all()
    found = speed.summary()
    assert found['loader_images_per_second'] <= 10
    assert found['parts_ms']['waiting for data'] >= 200
    assert found['shares']['waiting for data'] * sum(speed.seconds.values()).sum() >= 0.4


def test_a_known_time_is_found_in_its_part(data, monkeypatch):
    """The parts do not overlap, so it is in no other."""
    loss = MultiTaskLoss.forward

    def slow(*arguments):
        time.sleep(1.0)
        return loss(*arguments)
    monkeypatch.setattr(MultiTaskLoss, 'forward', slow)
    monkeypatch.setattr('mtl_perception.training_speed.WARM_UP_STEPS', 1)
    parts = measure_side(RECIPE, [samples(data)], 64, 1, workers=0).summary()['parts_ms']
    assert parts['loss'] >= 1000


def test_each_side_is_the_recipe_at_that_side(data, monkeypatch):
    """Side and windows are those asked for; no weights are loaded, whatever the recipe says."""
    recipes = []

    def learn(trainer, batch):
        recipes.append((trainer.recipe, batch.images.shape))
        raise KeyboardInterrupt
    monkeypatch.setattr(Trainer, 'learn', learn)
    for side in (96, 224):
        with pytest.raises(KeyboardInterrupt):
            measure_side(RECIPE, [samples(data)], side, 1, workers=0)
    assert [shape for _, shape in recipes] == [(2, 96, 96, 3), (2, 224, 224, 3)]
    assert [recipe.resolutions[0].zoom for recipe, _ in recipes] == [(0.5, 0.8), (0.9, 1.1)]


def test_the_command_writes_what_it_measured(data, tmp_path, capsys):
    """Sides in ascending order, whatever the order given."""
    (tmp_path / 'recipe.yaml').write_text(yaml.safe_dump(recipe_to_json(RECIPE)))
    assert main([str(tmp_path / 'recipe.yaml'), '--data', str(data), '--sides', '96', '64',
                 '--steps', '1', '--workers', '0', '--device', 'cpu',
                 '--json', str(tmp_path / 'speed.json')]) == 0
    found = json.loads((tmp_path / 'speed.json').read_text())
    assert [side['side'] for side in found['sides']] == [64, 96]
    assert found['conditions']['pictures'] == 8 and found['conditions']['batch_size'] == 2
    output = capsys.readouterr().out
    assert 'waiting for data' in output and 'images/s of training' in output


def test_a_stranger_can_run_it_at_once(capsys):
    """The shipped recipe and the pictures of this repository are found; the side is then wrong."""
    assert main(['--sides', '100', '--steps', '1', '--device', 'cpu']) == 2
    assert 'multiple of 32, got 100' in capsys.readouterr().err


@pytest.mark.parametrize('arguments, expected', [
    (['no.yaml'], 'no.yaml: expected a recipe'), (['--steps', '0'], '--steps from 1, got 0'),
    (['--workers', '-1'], '--workers from 0, got -1'), (['--data', '/no/data'], '/no/data'),
    (['--device', 'abacus'], 'abacus'),
])
def test_bad_input_ends_in_one_line(capsys, arguments, expected):
    """Before anything is timed."""
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith('error: ') and '\n' not in error and expected in error
