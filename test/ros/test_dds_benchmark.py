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
"""The benchmark over DDS: real processes, counts that add up, nothing left behind."""

import json
import os
import signal
import subprocess
import sys

from colour_weights import save_colour_weights
from mtl_perception.ros.load_figures import kept_runs, Run, search_peak, summarise
from mtl_perception.ros.worker import FrameCounts
import numpy as np
import pytest
from waiting import processes_with, wait_for

TIMEOUT_S = 60.0
MARK = 'BENCHMARK_OF_TEST'
LOST = {'not_sent', 'not_received', 'replaced', 'stale', 'invalid', 'pending', 'not_heard'}


@pytest.fixture
def weights(tmp_path):
    return save_colour_weights(tmp_path / 'colours').folder


@pytest.fixture
def start(weights, tmp_path):
    """Start short benchmarks whose processes can be told by their folder, and leave none."""
    started = []

    def start_benchmark(*arguments):
        started.append(subprocess.Popen(
            [sys.executable, '-m', 'mtl_perception.ros.dds_benchmark', str(weights), '--quick',
             '--seconds', '1', '--sizes', '640x480', '--transports', 'default',
             '--engine', 'onnx', '--device', 'cpu', *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, MARK: str(tmp_path)}))
        return started[-1]

    yield start_benchmark
    for process in started:
        process.kill()
        process.communicate()


def processes_of(folder):
    return processes_with(MARK, folder)


def is_node_up(folder):
    return any('mtl_perception.ros.node' in process.cmdline() for process in processes_of(folder))


def test_a_short_run_accounts_for_every_frame(start, tmp_path):
    path = tmp_path / 'dds.json'
    output, errors = (benchmark := start('--json', str(path))).communicate(timeout=TIMEOUT_S)
    assert benchmark.returncode == 0, errors
    assert processes_of(tmp_path) == []
    assert '640x480' in output and 'start-up' in output and 'peak rate' in errors
    found = json.loads(path.read_text())
    assert [row['asked_hz'] for row in found['fixed_rates']] == [10.0, 30.0]
    for row in found['fixed_rates']:
        assert row['asked'] == row['asked_hz'] and set(row['lost']) == LOST
        assert row['asked'] == row['answered'] + sum(row['lost'].values())
        assert min(row['lost'].values()) >= 0
        assert row['answered'] > row['asked'] / 2, 'most, even on a machine that is busy'
        latency, stages = row['latency_ms'], row['node_stages_p50_ms']
        assert 0.0 < latency['p50'] <= latency['p95'] <= latency['p99']
        assert latency['p50'] > stages['inference'] + stages['postprocess']
        assert row['node_overhead'] == pytest.approx(
            latency['p50'] / row['in_process_p50_ms'] - 1.0)
        assert row['node_cpu_percent'] > 0.0 and row['node_resident_mb'] > 20.0
    assert found['node_overhead'] is None, 'that is for the transports for large data'
    peak, = found['peak']
    assert len(peak['tried']) == 4 and peak['peak_hz'] in [0.0, *(
        trial['asked_hz'] for trial in peak['tried'] if trial['dropped_share'] < 0.05)]
    start_up = found['start_up']
    assert 0.0 < start_up['active_s'] <= start_up['first_answer_s'] + 0.1
    assert not start_up['torch_loaded']
    assert {bar['name']: bar['passed'] for bar in found['bars']}['memory after 100 frames, MB']
    assert {'engine', 'device', 'threads', 'cpus', 'load_before', 'rmw', 'ros_distro',
            'reliability', 'protocol'} <= set(found['conditions'])


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes(start, tmp_path, number):
    benchmark = start()
    wait_for(lambda: is_node_up(tmp_path), 'a node')
    for process in processes_of(tmp_path):  # as a terminal's Ctrl-C does
        if number == signal.SIGINT and os.getsid(process.pid) == os.getsid(benchmark.pid):
            process.send_signal(number)
    benchmark.send_signal(number)
    _, errors = benchmark.communicate(timeout=TIMEOUT_S)
    assert benchmark.returncode == 130 and 'Traceback' not in errors, errors
    wait_for(lambda: not processes_of(tmp_path), 'an end of all')


def test_a_killed_benchmark_leaves_nothing(start, tmp_path):
    benchmark = start()
    wait_for(lambda: is_node_up(tmp_path), 'a node')
    benchmark.kill()
    wait_for(lambda: not processes_of(tmp_path), 'an end of all')


@pytest.mark.parametrize('arguments, said', [
    (['no_such_weights'], 'no_such_weights'), (['--sizes', 'small'], 'small'),
    (['--rates', '0'], '--rates'), (['--seconds', '0'], '--seconds'),
    (['--json', '/no_such_folder/a.json'], '/no_such_folder')])
def test_what_cannot_work_is_one_line(arguments, said):
    run = subprocess.run([sys.executable, '-m', 'mtl_perception.ros.dds_benchmark', *arguments],
                         capture_output=True, text=True, timeout=TIMEOUT_S)
    assert run.returncode == 2
    assert run.stderr.startswith('error: ') and run.stderr.count('\n') == 1 and said in run.stderr


def run_of(latency_ms, answered=10, **more):
    return Run(asked=10, sent=10, seconds=1.0, latencies_ms=np.full(answered, float(latency_ms)),
               **more)


def test_best_and_worst_run_are_left_out():
    runs = [run_of(ms) for ms in (30, 10, 90, 20, 40)]
    assert [run.p50_ms for run in kept_runs(runs)] == [20.0, 30.0, 40.0]
    assert len(kept_runs(runs[:2])) == 2
    found = summarise(runs)
    assert (found['runs'], found['kept'], found['latency_ms']['p50']) == (5, 3, 30.0)
    assert len(found['each_run']) == 5 and found['held_hz'] == 10.0


def test_frames_are_lost_where_the_counts_say():
    run = run_of(20, answered=4, counts=FrameCounts(received=9, processed=5, replaced=3, stale=1),
                 in_process_ms=(10.0, 16.0))
    assert run.lost() == {'not_sent': 0, 'not_received': 1, 'replaced': 3, 'stale': 1,
                          'invalid': 0, 'pending': 0, 'not_heard': 1}
    found = summarise([run])
    assert found['dropped_share'] == pytest.approx(0.6)
    assert found['node_overhead'] == pytest.approx(7 / 13)


def test_a_run_without_answers_has_figures():
    found = summarise([run_of(0, answered=0)])
    assert found['latency_ms'] == {'p50': None, 'p95': None, 'p99': None}
    assert found['node_overhead'] is None and found['dropped_share'] == 1.0


@pytest.mark.parametrize('limit_hz', [0.0, 33.0, 99.9])
def test_the_search_ends_just_under_the_peak(limit_hz):
    peak_hz = search_peak(lambda rate: rate <= limit_hz, 100.0, 6)
    assert limit_hz - 100.0 / 2 ** 6 <= peak_hz <= limit_hz
