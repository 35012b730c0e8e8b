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
"""Peers answer what they are asked, and the race between them is fair."""

import json

from mtl_perception.card import Architecture, Card, ClassNames, HeadLayout, ImageInput
from mtl_perception.cli.benchmark import main
from mtl_perception.peers import (
    Answer, ReportPipeline, three_models_onnx, three_models_torch)
from mtl_perception.race import (
    matmul_flops, multiply_adds, OURS, Race, REPORT, THREE_ONNX, THREE_TORCH)
import numpy as np
import pytest
import torch

LAYOUT = HeadLayout(detection=3, segmentation=4, classification=5)
PICTURE = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def is_an_answer(answer: Answer):
    """Tell whether boxes, mask and class are of the picture and the classes."""
    assert answer.boxes.shape == (len(answer.scores), 4) == (len(answer.class_ids), 4)
    assert answer.mask.shape == PICTURE.shape[:2] and answer.mask.dtype == np.uint8
    assert answer.mask.max() < LAYOUT.segmentation
    assert 0 <= answer.image_class < LAYOUT.classification


def test_the_reports_pipeline_answers_all_three():
    is_an_answer(ReportPipeline(LAYOUT)(PICTURE))


def test_the_three_models_say_the_same_in_both_runtimes():
    """What is timed under two names is one thing."""
    eager = three_models_torch(LAYOUT)(PICTURE)
    exported = three_models_onnx(LAYOUT, PICTURE, 1)(PICTURE)
    for answer in (eager, exported):
        is_an_answer(answer)
    np.testing.assert_allclose(eager.boxes, exported.boxes, atol=1e-2)
    assert (eager.mask == exported.mask).mean() > 0.99
    assert eager.image_class == exported.image_class


def test_multiply_adds_are_the_networks():
    card = Card('toy', Architecture('unified', (8, 16, 32), {}), ImageInput(512, 512),
                ClassNames(*(tuple(map(str, range(count))) for count in (20, 21, 30))))
    square, wide = multiply_adds(card, 512, 512), multiply_adds(card, 720, 1280)
    assert 0.45e9 < square < 0.65e9
    assert wide == pytest.approx(square * 384 * 672 / 512 ** 2, rel=0.01)
    assert matmul_flops(1) > 1e9


def test_ratios_are_of_medians():
    race = Race({OURS: np.array([0.01, 0.01, 0.5]), REPORT: np.array([0.02] * 3),
                 THREE_TORCH: np.array([0.03] * 3), THREE_ONNX: np.array([0.04] * 3)},
                multiply_adds=10**9, flops=4e11)
    assert race.floor_ms == pytest.approx(5.0)
    assert race.ratios() == pytest.approx({
        'vs_report_pipeline': 2, 'vs_three_models_torch': 3, 'vs_three_models_onnx': 4,
        'over_floor': 2})


def test_the_command_puts_peers_beside_the_shipped_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('mtl_perception.cli.benchmark.PEER_TURNS', 1)
    report = tmp_path / 'bench.json'
    assert main(['--frames', '20', '--threads', '1', '--no-dds', '--precision', 'float32',
                 '--json', str(report)]) == 0
    found = json.loads(report.read_text())
    assert set(found['peers_milliseconds']) == {OURS, REPORT, THREE_TORCH, THREE_ONNX}
    assert all(found['ratios'][name] > 1 for name in found['ratios'] if name.startswith('vs_'))
    alone_ms = found['milliseconds']['end to end']['p50']
    assert found['peers_milliseconds'][OURS]['p50'] < 3 * alone_ms, 'peers slow it'
    assert 0.3 < found['ratios']['over_floor'] < 30
    assert THREE_ONNX in capsys.readouterr().out
