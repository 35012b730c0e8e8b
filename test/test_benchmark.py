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
"""The benchmark times what it says: the real path, every stage, frame by frame."""

import json
import time

from colour_weights import picture, save_colour_weights
import cv2
from mtl_perception.benchmark import camera_messages, END_TO_END, run_benchmark, STAGES
from mtl_perception.cli.benchmark import main, verdicts
from mtl_perception.engine import Engine
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
import numpy as np
import pytest
from rich.console import Console


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours')


class SlowBackend:
    """A network that takes a known time."""

    name, device, provider, precision = 'slow', 'cpu', 'sleep', 'float32'

    def __init__(self, shape, seconds):
        self._answer = np.zeros(shape, np.float32)
        self._seconds = seconds

    def run(self, images):
        time.sleep(self._seconds)
        return self._answer


def test_a_known_time_is_found_in_its_stage_and_nowhere_else(weights):
    card = weights.card
    engine = Engine(card, SlowBackend((1, card.layout.channels, card.cells), 0.02))
    seen = []
    benchmark = run_benchmark(engine, [Frame(picture())], 8, on_frame=lambda: seen.append(1))
    times_ms = benchmark.milliseconds()
    assert set(times_ms) == {*STAGES, END_TO_END}
    assert all(len(values) == 8 for values in benchmark.seconds.values()) and len(seen) == 18
    assert 20 <= times_ms['inference']['p50'] < 30
    assert times_ms[END_TO_END]['p50'] > times_ms['inference']['p50']
    assert all(times_ms[stage]['p50'] < 10 for stage in STAGES if stage != 'inference')
    stages = sum(benchmark.seconds[stage] for stage in STAGES)
    np.testing.assert_allclose(stages, benchmark.seconds[END_TO_END], atol=1e-3)
    for values in times_ms.values():
        assert values['p50'] <= values['p95'] <= values['p99']


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_the_messages_hold_the_pictures(transport):
    image = np.full((48, 64, 3), (200, 100, 50), np.uint8)
    message, = camera_messages([Frame(image)], transport)
    assert abs(decode(message).astype(int) - image).max() <= 4


def test_the_command_writes_what_it_measured(weights, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), picture(red=(16, 16)))
    report = tmp_path / 'report.json'
    assert main([str(weights.folder), '--source', str(tmp_path / 'a.png'), '--frames', '5',
                 '--threads', '1', '--no-peers', '--no-dds', '--json', str(report)]) == 0
    found = json.loads(report.read_text())
    assert set(found['milliseconds']) == {*STAGES, END_TO_END}
    assert found['ratios'] == dict.fromkeys((
        'vs_report_pipeline', 'vs_three_models_torch', 'vs_three_models_onnx', 'over_floor',
        'node_overhead', 'int8_speedup')), 'what was not measured is not a number'
    conditions = found['conditions']
    assert (conditions['frames'], conditions['threads']) == (5, 1)
    assert conditions['picture_sizes'] == ['128x96']
    output = capsys.readouterr().out
    assert 'inference' in output and '1 threads' in output
    assert output.count('not measured') == 6 and 'pass' not in output


def test_each_ratio_is_held_to_its_bar(capsys):
    """Some are better large, some small; 12.5 times as fast does not make up for another."""
    ratios = {'vs_report_pipeline': 12.5, 'vs_three_models_torch': 9.99,
              'vs_three_models_onnx': 4.0, 'int8_speedup': None, 'over_floor': 4.01,
              'node_overhead': 0.35}
    Console(width=100).print(verdicts(ratios))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = {row[1]: (row[3], row[-2]) for row in rows if len(row) > 4 and row[1] in ratios}
    assert found == {
        'vs_report_pipeline': ('12.50', 'pass'), 'vs_three_models_torch': ('9.99', 'FAIL'),
        'vs_three_models_onnx': ('4.00', 'pass'), 'int8_speedup': ('│', 'measured'),
        'over_floor': ('4.01', 'FAIL'), 'node_overhead': ('0.35', 'pass')}


@pytest.mark.parametrize('arguments, expected', [
    (['--frames', '0'], '--frames'), (['--source', '/no/video.mp4'], '/no/video.mp4'),
    (['--json', '/no/such/folder/a.json'], 'cannot be written'),
])
def test_bad_input_ends_in_one_line(weights, tmp_path, capsys, arguments, expected):
    cv2.imwrite(str(tmp_path / 'a.png'), picture())
    source = [] if '--source' in arguments else ['--source', str(tmp_path / 'a.png')]
    frames = [] if '--frames' in arguments else ['--frames', '1']
    assert main([str(weights.folder), '--no-peers', '--no-dds', *source, *frames,
                 *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith('error: ') and '\n' not in error and expected in error
