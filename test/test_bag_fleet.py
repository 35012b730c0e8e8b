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
"""A folder of bags: each one done, on this machine or on a cluster, whatever the others are."""

import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

from colour_weights import save_colour_weights
from mtl_perception.bag_fleet import find_bags, predict_bags
from mtl_perception.bag_run import BagOptions
from picture_bags import contents, drive, run
import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = ('monday', 'tuesday', 'wednesday')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours')


@pytest.fixture(scope='module')
def night(tmp_path_factory):
    """Return a folder of three bags, one of them a single file, and a letter."""
    folder = tmp_path_factory.mktemp('fleet') / 'night'
    folder.mkdir()
    drive(folder / 'monday', 40)
    drive(folder / 'tuesday', 20)
    file = next(drive(folder.parent / 'w', 30).glob('*.mcap'))
    file.rename(folder / 'wednesday.mcap')
    (folder / 'letter.txt').write_text('dear all')
    (folder / 'empty').mkdir()
    return folder


@pytest.fixture(scope='module')
def expected(weights, night, tmp_path_factory):
    """Return what each bag gives by itself."""
    folder = tmp_path_factory.mktemp('expected')
    for name, source in find_bags(night).items():
        assert run(weights, source, folder / name) == 0
    return {name: contents(folder / name) for name in NAMES}


@pytest.fixture(scope='module')
def cluster():
    """Return a real cluster of two workers."""
    distributed = pytest.importorskip('distributed')
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True,
                                  dashboard_address='127.0.0.1:0') as started:
        yield started


def test_a_folder_of_bags_is_told_from_a_recording(night, tmp_path):
    assert set(find_bags(night)) == set(NAMES)
    assert find_bags(night / 'monday') == {} == find_bags(night / 'wednesday.mcap')
    for name in ('drive_0.mcap', 'drive_1.mcap'):
        (tmp_path / name).touch()
    assert find_bags(tmp_path) == {}, 'pieces of one recording that was not finished'
    (tmp_path / 'drive_7.mcap').touch()
    assert set(find_bags(tmp_path)) == {'drive_0', 'drive_1', 'drive_7'}
    (tmp_path / 'drive_7.db3').touch()
    assert set(find_bags(tmp_path)) == {'drive_0', 'drive_1', 'drive_7.mcap', 'drive_7.db3'}


def check(output, expected, names=NAMES):
    assert {item.name for item in output.iterdir()} == set(names)
    for name in names:
        assert contents(output / name) == expected[name]


def test_a_cluster_of_two_workers(weights, night, expected, cluster, tmp_path, capsys):
    output = tmp_path / 'seen'
    assert run(weights, night, output, '--cluster', cluster.scheduler_address) == 0
    check(output, expected)
    told = capsys.readouterr()
    assert all(name in told.out for name in NAMES) and told.err == ''
    (output / 'tuesday' / 'metadata.yaml').unlink()
    os.rename(output / 'tuesday', tmp_path / 'away')
    assert run(weights, night, output, '--cluster', cluster.scheduler_address) == 0
    assert capsys.readouterr().out.count('done before') == 2
    check(output, expected)


def test_both_workers_of_the_cluster_work(weights, night, cluster, tmp_path):
    from distributed import Client

    def executed(dask_worker):
        return dask_worker.state.executed_count
    with Client(cluster) as client:
        before = client.run(executed)
        outcomes = predict_bags(find_bags(night), night, tmp_path / 'seen',
                                BagOptions(str(weights.folder)), cluster.scheduler_address,
                                lambda done, total: None)
        after = client.run(executed)
    assert [outcome.result for outcome in outcomes] == ['done'] * 3
    assert sum(after.values()) - sum(before.values()) == 3, 'one bag a task'
    assert all(after[worker] > before[worker] for worker in before)


def test_this_machine_with_dask_is_a_cluster_too(weights, night, expected, tmp_path):
    pytest.importorskip('distributed')
    assert run(weights, night, tmp_path / 'seen', '--workers', '2') == 0
    check(tmp_path / 'seen', expected)


@pytest.mark.parametrize('where', ['cluster', 'here'])
def test_one_that_fails_does_not_stop_the_others(weights, expected, request, tmp_path, capsys,
                                                 where):
    night = tmp_path / 'night'
    night.mkdir()
    drive(night / 'monday', 40)
    (night / 'broken.mcap').write_bytes(b'\x89MCAP0\r\n' + bytes(1000))
    (night / 'other').mkdir()
    drive(night / 'unfinished', 20).joinpath('metadata.yaml').unlink()
    output = tmp_path / 'seen'
    (output / 'other').mkdir(parents=True)
    (night / 'other.mcap').write_bytes(next((night / 'monday').glob('*.mcap')).read_bytes())
    arguments = ['--cluster', request.getfixturevalue('cluster').scheduler_address] \
        if where == 'cluster' else ['--workers', '1']
    assert run(weights, night, output, *arguments) == 1
    lines, errors = capsys.readouterr()
    assert errors.count('failed: ') == 2 and errors.count('incomplete: ') == 1, errors
    assert {item.name for item in output.iterdir()} == {'monday', 'unfinished', 'other'}
    assert contents(output / 'monday') == expected['monday']
    for name, result in (('broken', 'failed'), ('monday', 'done'), ('other', 'failed'),
                         ('unfinished', 'incomplete')):
        assert any(name in line and result in line for line in lines.splitlines()), lines
    for item in ('monday', 'unfinished', 'other.mcap'):
        os.rename(night / item, tmp_path / f'away_{item}')
    drive(night / 'words', 1)
    assert run(weights, night, output, '--topic', '/none', *arguments) == 2, 'none is done'


def without_dask(code):
    return subprocess.run(
        [sys.executable, '-c', 'import sys\nsys.modules["distributed"] = None\n' + code],
        capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_without_dask_bag_after_bag(weights, night, expected, tmp_path):
    command = ('from mtl_perception.cli.predict_bag import main\n'
               f'sys.exit(main([{str(night)!r}, {str(tmp_path / "seen")!r}, "--checkpoint", '
               f'{str(weights.folder)!r}, "--workers", "1", *{{}}]))')
    ended = without_dask(command.format('[]'))
    assert ended.returncode == 0 and ended.stderr == '', ended.stderr
    check(tmp_path / 'seen', expected)
    ended = without_dask(command.format('["--cluster", "tcp://127.0.0.1:1"]'))
    assert ended.returncode == 2
    assert ended.stderr.startswith('error: --cluster: expected Dask')
    assert ended.stderr.count('\n') == 1


@pytest.mark.parametrize('address', ['tcp://127.0.0.1:1', 'nonsense://x'])
def test_a_cluster_that_is_not_there(weights, night, tmp_path, capsys, address):
    pytest.importorskip('distributed')
    assert run(weights, night, tmp_path / 'seen', '--cluster', address) == 2
    told = capsys.readouterr().err
    assert told.startswith('error: --cluster: expected a Dask scheduler at') \
        and told.count('\n') == 1, told


def test_a_cluster_is_for_folders_of_bags(weights, night, tmp_path, capsys):
    assert run(weights, night / 'monday', tmp_path / 'seen', '--cluster', 'tcp://x:1') == 2
    assert 'a folder of bags' in capsys.readouterr().err


def test_ctrl_c_ends_a_fleet_and_it_goes_on(weights, tmp_path):
    pytest.importorskip('distributed')
    night, output = tmp_path / 'night', tmp_path / 'seen'
    night.mkdir()
    drive(night / 'monday', 600)
    shutil.copytree(night / 'monday', night / 'tuesday')
    command = [sys.executable, '-m', 'mtl_perception.cli.predict_bag', str(night), str(output),
               '--checkpoint', str(weights.folder), '--workers', '2']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(output.glob('*.partial/journal')):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and 'Traceback' not in errors, errors
    assert f'{output} holds what is done' in errors
    assert run(weights, night, output, '--workers', '1') == 0
    assert {item.name for item in output.iterdir()} == {'monday', 'tuesday'}
    seen = contents(output / 'monday')
    assert len(seen['/perception/detections']) == 600
    assert contents(output / 'tuesday') == seen
