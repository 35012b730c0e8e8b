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
import shutil
import subprocess
import sys

from mtl_perception.backends.torch_backend import TorchBackend
from mtl_perception.card import Architecture, Card, ImageInput
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.cli import evaluate as evaluate_command
from mtl_perception.config import EngineConfig
from mtl_perception.data.household import HOUSEHOLD_NAMES
from mtl_perception.data.sample import Sample
from mtl_perception.data.voc import VocDataset
from mtl_perception.engine import build_engine, Engine
from mtl_perception.evaluation import (
    corrupted, evaluate, FIGURES, HEADLINE, headline, metrics_to_json, Robustness,
    robustness_to_json, score_frames, summarise)
from mtl_perception.export import deployed, export
from mtl_perception.network import build_network
from mtl_perception.prediction import BACKGROUND, Detections, Prediction, UNLABELLED
import numpy as np
import pytest
from squares import write_squares
import torch

CARD = Card('squares', Architecture('unified', (8, 16, 32), {'width': 16}), ImageInput(96, 96),
            HOUSEHOLD_NAMES)
SMOKE = Path(__file__).resolve().parent / 'data' / 'smoke'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Return a data set of twelve pictures."""
    return write_squares(tmp_path_factory.mktemp('data'), 'test', 12)


@pytest.fixture(scope='module')
def dataset(root):
    """Return its split."""
    return VocDataset(root, 'test', HOUSEHOLD_NAMES)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Return the folder of a network that learnt nothing."""
    torch.manual_seed(0)
    return export(build_network(CARD), CARD, tmp_path_factory.mktemp('weights') / 'none').folder


@pytest.fixture(scope='module')
def smoke():
    """Return the forty rendered frames that are in the repository."""
    return list(VocDataset(SMOKE, 'smoke', HOUSEHOLD_NAMES))


def answers(samples, spoil=lambda sample, index: sample):
    """Return an ``infer`` that answers each sample in turn with its labels, perhaps spoilt."""
    predictions = []
    for index, sample in enumerate(samples):
        sample = spoil(sample, index)
        probabilities = np.zeros(len(HOUSEHOLD_NAMES.classification), np.float32)
        probabilities[sample.image_class] = 1.0
        predictions.append(Prediction(
            Detections(sample.boxes, np.ones(len(sample.boxes), np.float32), sample.class_ids),
            np.where(sample.mask == UNLABELLED, BACKGROUND, sample.mask), probabilities))
    remaining = iter(predictions)
    return lambda frame, settings: next(remaining)


def test_truth_as_prediction_is_exactly_one(smoke):
    """All figures, of every class and size, and the intervals around them."""
    metrics = evaluate(answers(smoke), smoke, CARD, resamples=5)
    for name in FIGURES:
        assert getattr(metrics, name) == 1.0, name
        assert metrics.intervals[name] == (1.0, 1.0), name
    assert headline(metrics) == dict.fromkeys(HEADLINE, 1.0)
    assert set(metrics.ap50.values()) == set(metrics.ap50_95.values()) == {1.0}
    assert set(metrics.iou.values()) == {1.0}
    assert (metrics.frames, metrics.scenes) == (40, 40)
    assert sum(metrics.objects.values()) == sum((~sample.difficult).sum() for sample in smoke)


def test_shuffled_labels_are_near_zero(smoke):
    """Each frame answered with the next one's labels: only background and luck remain."""
    def spoil(_, index):
        return smoke[(index + 1) % len(smoke)]
    metrics = evaluate(answers(smoke, spoil), smoke, CARD)
    assert metrics.map50 < 0.02
    assert metrics.map50_95 < 0.01
    assert metrics.iou['background'] > 0.8
    assert metrics.miou < metrics.iou['background'] / 21 + 0.03
    assert metrics.top1 < 0.15


def test_duplicated_boxes_cost(smoke):
    """Every box twice: no figure above 1, every class below what it was."""
    def spoil(sample, _):
        return Sample(sample.name, sample.image, np.repeat(sample.boxes, 2, axis=0),
                      np.repeat(sample.class_ids, 2), np.repeat(sample.difficult, 2),
                      sample.mask, sample.image_class)
    metrics = evaluate(answers(smoke, spoil), smoke, CARD)
    assert max(metrics.ap50.values()) < 1.0
    assert metrics.map50_95 <= metrics.map50 + 1e-12 < 1.0
    assert metrics.miou == metrics.top1 == 1.0


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


def test_an_untrained_network_is_near_zero(smoke):
    """The real engine on random weights: every figure is there, and chance."""
    torch.manual_seed(0)
    network = deployed(build_network(CARD), CARD)
    metrics = evaluate(Engine(CARD, TorchBackend(network, 'cpu')).infer, smoke[::2], CARD)
    assert metrics.map50 < 0.01
    # At best all is called background, and that is one class of 21.
    assert 0.0 < metrics.miou < 1 / 21 + 0.01
    assert 0.0 <= metrics.top1 <= 0.15  # of 30


def test_onnx_and_torch_give_the_same_figures(smoke):
    """The shipped weights, through the engine."""
    checkpoint = load_checkpoint('household')
    onnx, of_torch = (
        evaluate(build_engine(checkpoint, EngineConfig(
            name, 'cpu', require_device=True, precision='float32')).infer,
                 smoke[:8], checkpoint.card) for name in ('onnx', 'torch'))
    assert onnx.map50 > 0.3
    for name in FIGURES:
        assert getattr(onnx, name) == pytest.approx(getattr(of_torch, name), abs=2e-3,
                                                    nan_ok=True), name
    assert onnx.iou == pytest.approx(of_torch.iou, abs=2e-3, nan_ok=True)
    assert onnx.ap50 == pytest.approx(of_torch.ap50, abs=2e-3, nan_ok=True)


def test_corrupted_frames_are_the_same_each_time_and_keep_their_labels(dataset):
    """The noise of a frame hangs on its name, not on what came before it."""
    first = list(corrupted(dataset, 'gaussian_noise', 3))
    again = list(corrupted([dataset[2]], 'gaussian_noise', 3))[0]
    np.testing.assert_array_equal(first[2].image, again.image)
    assert not np.array_equal(first[0].image - dataset[0].image,
                              first[1].image - dataset[1].image)
    np.testing.assert_array_equal(again.mask, dataset[2].mask)
    assert again.name == dataset[2].name


def test_losses_are_shares_of_the_clean_figures(dataset):
    """One corruption costs nothing, under the other every second frame is lost."""
    def half(sample, index):
        return sample if index % 2 else dataset[1]
    clean, worse = (summarise(score_frames(answers(dataset, spoil), dataset, CARD), CARD)
                    for spoil in (lambda sample, _: sample, half))
    robustness = Robustness(3, clean, {'fog': clean, 'rain': worse})
    assert robustness.losses('fog') == dict.fromkeys(HEADLINE, 0.0)
    assert robustness.losses('rain') == pytest.approx(
        {name: 1.0 - getattr(worse, name) for name in HEADLINE})
    assert robustness.mean_losses()['top1'] == pytest.approx((1.0 - worse.top1) / 2)
    assert robustness.mean_loss() == pytest.approx(np.mean(
        [1.0 - getattr(worse, name) for name in HEADLINE]) / 2)
    document = robustness_to_json(robustness)
    assert document['losses']['rain']['miou'] == round(1.0 - worse.miou, 4)
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize('engine, precision, key', [
    ('onnx', 'float32', 'test'), ('torch', 'auto', 'test'), ('onnx', 'bfloat16', 'test@bfloat16')])
def test_command_prints_writes_and_notes_the_figures(root, weights, tmp_path, capsys, engine,
                                                     precision, key):
    """Table, JSON and card say the same."""
    shutil.copytree(weights, tmp_path / 'weights')
    status = evaluate_command.main([
        str(tmp_path / 'weights'), '--data', str(root), '--split', 'test', '--engine', engine,
        '--device', 'cpu', '--precision', precision, '--resamples', '3',
        '--json', str(tmp_path / 'figures.json'), '--write-card'])
    printed, errors = capsys.readouterr()
    if 'cannot be had' in errors:
        pytest.skip('no bfloat16 on this machine')
    figures = json.loads((tmp_path / 'figures.json').read_text())
    card = json.loads((tmp_path / 'weights' / 'card.json').read_text())
    assert status == 0
    assert f'{engine} on cpu' in printed
    assert f'{figures["miou"]:.3f}' in printed
    assert card['metrics'] == {key: figures}
    assert figures['frames'] == 12
    assert set(figures['ap50']) == set(figures['ap50_95']) == set(CARD.classes.detection)
    assert set(figures['intervals']) == {name for name in FIGURES if figures[name] is not None}


def test_command_scores_corruptions_and_writes_a_report(root, weights, tmp_path, capsys):
    """One run, the first frames only; figures, losses and pictures agree on what was done."""
    arguments = [str(weights), '--data', str(root), '--frames', '5', '--device',
                 'cpu', '--resamples', '2', '--json', str(tmp_path / 'new' / 'figures.json'),
                 '--corruptions', '2', '--report', str(tmp_path / 'report')]
    assert evaluate_command.main(arguments) == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / 'new' / 'figures.json').read_text())
    report = (tmp_path / 'report' / 'report.md').read_text()
    assert figures['frames'] == 5
    assert figures['corruptions']['severity'] == 2
    assert set(figures['corruptions']['losses']) == {
        'gaussian_blur', 'gaussian_noise', 'dark', 'jpeg', 'low_contrast'}
    for text in (printed, report):
        assert 'severity 2' in text
        assert 'gaussian_blur' in text
        assert f'{figures["miou"]:.3f}' in text
    assert '--corruptions 2' in report


@pytest.mark.parametrize('arguments', (
    ['nowhere', '--data', '.'],
    ['{weights}', '--data', 'nowhere'],
    ['{weights}', '--data', '{data}', '--split', 'nothing'],
    ['{weights}', '--data', '{data}', '--device', 'toaster'],
    ['{weights}', '--data', '{data}', '--report', '{data}/ImageSets/Main/test.txt'],
    ['{weights}', '--data', '{data}', '--json', '{data}/ImageSets/Main/test.txt/figures']))
def test_command_refuses_bad_input_in_one_line(root, weights, capsys, arguments):
    """Status 2, one line, no traceback."""
    status = evaluate_command.main([
        argument.format(weights=weights, data=root) for argument in arguments])
    errors = capsys.readouterr().err
    assert status == 2
    assert errors.startswith('error: ')
    assert errors.count('\n') == 1


@pytest.mark.parametrize('arguments', (
    ['--corruptions', '6'], ['--corruptions', 'fog'], ['--frames', '-1'],
    ['--resamples', 'many']))
def test_command_explains_what_it_takes(capsys, arguments):
    """Numbers out of range are refused by the parser, with the option's name."""
    with pytest.raises(SystemExit) as stop:
        evaluate_command.main(['--data', '.', *arguments])
    assert stop.value.code == 2
    assert arguments[0] in capsys.readouterr().err.splitlines()[-1]


def test_scoring_needs_no_torch():
    """The runtime environment has ONNX Runtime only."""
    code = ('import sys; import mtl_perception.cli.evaluate, mtl_perception.evaluation, '
            'mtl_perception.evaluation_report; sys.exit("torch" in sys.modules)')
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).resolve().parents[1])}
    assert subprocess.run([sys.executable, '-c', code], env=environment,
                          check=False).returncode == 0
