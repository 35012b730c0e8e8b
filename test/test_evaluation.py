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
"""Scoring a split, from perfect answers to none, and through the real engine."""

import json
import os
from pathlib import Path
import subprocess
import sys

from mtl_perception.backends.torch_backend import TorchBackend
from mtl_perception.card import Architecture, Card, ImageInput
from mtl_perception.cli import evaluate as evaluate_command
from mtl_perception.data.household import HOUSEHOLD_NAMES
from mtl_perception.data.sample import Sample
from mtl_perception.data.voc import VocDataset
from mtl_perception.engine import Engine
from mtl_perception.evaluation import evaluate, HEADLINE, headline, metrics_to_json
from mtl_perception.export import deployed, export
from mtl_perception.network import build_network
from mtl_perception.prediction import Detections, Prediction
import numpy as np
import pytest
from squares import write_squares
import torch

CARD = Card('squares', Architecture('unified', (8, 16, 32), {'width': 16}), ImageInput(96, 96),
            HOUSEHOLD_NAMES)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Return a data set of twelve pictures."""
    return write_squares(tmp_path_factory.mktemp('data'), 'test', 12)


@pytest.fixture(scope='module')
def dataset(root):
    """Return its split."""
    return VocDataset(root, 'test', HOUSEHOLD_NAMES)


def answers(samples, spoil=lambda sample, index: sample):
    """Return an ``infer`` that answers each sample in turn with its labels, perhaps spoilt."""
    predictions = []
    for index, sample in enumerate(samples):
        sample = spoil(sample, index)
        probabilities = np.zeros(len(HOUSEHOLD_NAMES.classification), np.float32)
        probabilities[sample.image_class] = 1.0
        predictions.append(Prediction(
            Detections(sample.boxes, np.ones(len(sample.boxes), np.float32), sample.class_ids),
            sample.mask, probabilities))
    remaining = iter(predictions)
    return lambda frame, settings: next(remaining)


def test_truth_as_prediction_is_exactly_one(dataset):
    """All figures, and the intervals around them."""
    metrics = evaluate(answers(dataset), dataset, CARD, resamples=5)
    assert headline(metrics) == dict.fromkeys(HEADLINE, 1.0)
    assert metrics.macro == 1.0
    assert metrics.intervals == dict.fromkeys(HEADLINE, (1.0, 1.0))
    assert (metrics.frames, metrics.scenes) == (12, 12)


def test_half_right_is_between_and_the_interval_holds_it(dataset):
    """Every second picture is answered as the first: figures fall, intervals open."""
    def spoil(sample, index):
        return sample if index % 2 else dataset[1]
    metrics = evaluate(answers(dataset, spoil), dataset, CARD, resamples=40)
    for name in HEADLINE:
        low, high = metrics.intervals[name]
        assert 0.0 < getattr(metrics, name) < 1.0
        assert low <= getattr(metrics, name) <= high
        assert low < high


def test_intervals_are_the_same_each_time(dataset):
    """The draws are seeded."""
    def spoil(sample, index):
        return sample if index % 2 else dataset[1]
    first, second = (evaluate(answers(dataset, spoil), dataset, CARD, resamples=5)
                     for _ in range(2))
    assert first.intervals == second.intervals


def test_labels_that_are_lacking_are_left_out(dataset):
    """Pictures with some labels count where they have them; a figure of none is null."""
    first = dataset[1]
    bare = Sample('bare', first.image, image_class=first.image_class)
    infer = answers([first, first])
    metrics = evaluate(infer, [bare, bare], CARD)
    assert metrics.top1 == 1.0
    assert np.isnan([metrics.map50_95, metrics.map50, metrics.miou]).all()
    document = metrics_to_json(metrics)
    assert document['map50'] is None
    json.dumps(document, allow_nan=False)


def test_an_untrained_network_is_near_zero(dataset):
    """The real engine on random weights: every figure is there and low."""
    torch.manual_seed(0)
    network = deployed(build_network(CARD), CARD)
    metrics = evaluate(Engine(CARD, TorchBackend(network, 'cpu')).infer, dataset, CARD)
    assert metrics.map50 < 0.05
    assert metrics.miou < 0.3
    assert 0.0 <= metrics.top1 <= 0.5


@pytest.mark.parametrize('engine', ('onnx', 'torch'))
def test_command_prints_writes_and_notes_the_figures(root, tmp_path, capsys, engine):
    """Table, JSON and card say the same."""
    torch.manual_seed(0)
    export(build_network(CARD), CARD, tmp_path / 'weights')
    status = evaluate_command.main([
        str(tmp_path / 'weights'), '--data', str(root), '--split', 'test', '--engine', engine,
        '--device', 'cpu', '--resamples', '3', '--json', str(tmp_path / 'figures.json'),
        '--write-card'])
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / 'figures.json').read_text())
    card = json.loads((tmp_path / 'weights' / 'card.json').read_text())
    assert status == 0
    assert f'{engine} on cpu' in printed
    assert f'{figures["miou"]:.3f}' in printed
    assert card['metrics']['test'] == figures
    assert figures['frames'] == 12


@pytest.mark.parametrize('arguments', (
    ['nowhere', '--data', '.'],
    ['{weights}', '--data', 'nowhere'],
    ['{weights}', '--data', '{data}', '--split', 'nothing'],
    ['{weights}', '--data', '{data}', '--device', 'toaster']))
def test_command_refuses_bad_input_in_one_line(root, tmp_path, capsys, arguments):
    """Status 2, one line, no traceback."""
    export(build_network(CARD), CARD, tmp_path / 'weights')
    status = evaluate_command.main([
        argument.format(weights=tmp_path / 'weights', data=root) for argument in arguments])
    errors = capsys.readouterr().err
    assert status == 2
    assert errors.startswith('error: ')
    assert errors.count('\n') == 1


def test_scoring_needs_no_torch():
    """The runtime environment has ONNX Runtime only."""
    code = ('import sys; import mtl_perception.cli.evaluate, mtl_perception.evaluation, '
            'mtl_perception.data.voc; sys.exit("torch" in sys.modules)')
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).resolve().parents[1])}
    assert subprocess.run([sys.executable, '-c', code], env=environment,
                          check=False).returncode == 0
