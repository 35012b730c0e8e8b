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
"""A run that was ended goes on; one that cannot leaves nothing that looks whole."""

import json
import os
from pathlib import Path
import resource
import signal
import subprocess
import sys
import time

from colour_weights import save_colour_weights
from mtl_perception.bag_run import BagOptions, predict_bag
from mtl_perception.bag_staging import open_staging
from mtl_perception.cli.predict_bag import main
from mtl_perception.errors import ConfigError
import numpy as np
from picture_bags import contents, drive, IMAGE, raw_image, read_bag, run, write_bag
import psutil
import pytest
from waiting import processes_with, wait_for

COUNT = 400
PARTS = COUNT // 16
TIMEOUT_S = 60
MARK = 'BAG_OF_TEST'


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours')


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return drive(tmp_path_factory.mktemp('source') / 'drive', COUNT)


@pytest.fixture(scope='module')
def expected(weights, source, tmp_path_factory):
    """Return what an uninterrupted run gives, and its file."""
    output = tmp_path_factory.mktemp('expected') / 'seen'
    assert run(weights, source, output) == 0
    return contents(output), (output / 'seen.mcap').read_bytes()


@pytest.fixture
def start(weights, source, tmp_path):
    """Start the command as a user does, in a group of processes of its own."""
    started = []

    def start_command(*arguments, **options):
        started.append(subprocess.Popen(
            [sys.executable, '-m', 'mtl_perception.cli.predict_bag', str(source),
             str(tmp_path / 'seen'), '--checkpoint', str(weights.folder), '--workers', '2',
             *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env={**os.environ, MARK: str(tmp_path)}, **options))
        return started[-1]

    yield start_command
    for process in started:
        process.kill()
        process.communicate()


def journal(tmp_path):
    """Return how many parts the unfinished bag holds."""
    try:
        text = (tmp_path / 'seen.partial' / 'journal').read_text()
        return max(0, text.count('\n') - 1)
    except OSError:
        return 0


def processes_of(folder):
    return processes_with(MARK, folder)


def kill_in_the_middle(start, tmp_path, parts=3):
    command = start()
    wait_for(lambda: journal(tmp_path) >= parts, 'some parts')
    command.send_signal(signal.SIGKILL)
    command.communicate()
    assert not (tmp_path / 'seen').exists(), 'it was killed before its end'
    return journal(tmp_path)


def test_a_killed_run_goes_on_and_gives_the_same_file(start, expected, tmp_path):
    done = kill_in_the_middle(start, tmp_path)
    wait_for(lambda: processes_of(tmp_path) == [], 'workers end with their parent')
    bag = tmp_path / 'seen.partial' / 'bag' / 'seen.mcap'
    inode, begin = bag.stat().st_ino, bag.read_bytes()[:-1]
    with bag.open('ab') as stream:
        stream.write(b'torn')  # by the kill, and so is the journal's last line
    with (tmp_path / 'seen.partial' / 'journal').open('a') as stream:
        stream.write('{"end": 12')
    command = start()
    output, errors = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode == 0 and errors == '', errors
    assert f'{COUNT} frames (' in output, output
    resumed = int(output.split(f'{COUNT} frames (')[1].split()[0])
    assert resumed >= 16 * done, 'finished parts are not done again'
    whole = tmp_path / 'seen' / 'seen.mcap'
    assert whole.stat().st_ino == inode and whole.read_bytes()[:len(begin)] == begin
    assert whole.read_bytes() == expected[1], 'byte for byte that of an uninterrupted run'
    assert not (tmp_path / 'seen.partial').exists()


@pytest.mark.parametrize('change, word', [
    (lambda source, folder: ['--score-threshold', '0.5'], 'settings'),
    (lambda source, folder: ['--node-name', 'eyes'], 'settings'),
    (lambda source, folder: os.utime(next(source.glob('*.mcap'))) or [], 'bag'),
    (lambda source, folder: ['--checkpoint', str(other_weights(folder))], 'weights'),
], ids=['threshold', 'name', 'bag', 'weights'])
def test_what_has_changed_is_done_from_the_start(start, source, tmp_path, change, word):
    kill_in_the_middle(start, tmp_path)
    command = start(*change(source, tmp_path))
    output, errors = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode == 0, errors
    assert errors == (f'warning: {tmp_path}/seen.partial: of an earlier run with other {word}, '
                      'started over\n')
    assert f'{COUNT} frames, ' in output
    name = '/eyes' if '--node-name' in command.args else '/perception'
    assert len(contents(tmp_path / 'seen')[f'{name}/detections']) == COUNT


def other_weights(folder):
    weights = save_colour_weights(folder / 'other').folder
    card = json.loads((weights / 'card.json').read_text())
    card['metrics'] = {'map50': 0.5}
    (weights / 'card.json').write_text(json.dumps(card))
    return weights


def test_ctrl_c_ends_at_once_and_the_run_goes_on(start, expected, tmp_path):
    command = start()
    wait_for(lambda: journal(tmp_path) >= 2, 'some parts')
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does, to all of them
    begin = time.monotonic()
    _, errors = command.communicate(timeout=TIMEOUT_S)
    assert time.monotonic() - begin < 10
    assert command.returncode == 130 and 'Traceback' not in errors
    assert 'seen.partial' in errors and 'same command' in errors
    assert processes_of(tmp_path) == []
    assert start().wait(TIMEOUT_S) == 0
    assert contents(tmp_path / 'seen') == expected[0]


def test_a_worker_that_is_killed_is_an_error_after_which_it_goes_on(start, expected, tmp_path):
    command = start()
    wait_for(lambda: journal(tmp_path) >= 2, 'some parts')
    worker = max((process for process in psutil.Process(command.pid).children(recursive=True)),
                 key=lambda process: sum(process.cpu_times()[:2]))
    worker.kill()
    _, errors = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode == 2
    assert errors.startswith('error: ') and errors.count('\n') == 1, errors
    assert '--workers' in errors and 'same command' in errors
    assert start().wait(TIMEOUT_S) == 0
    assert contents(tmp_path / 'seen') == expected[0]


def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize('size', [1000, 60_000])
def test_files_that_may_not_grow(start, expected, tmp_path, size):
    """The same error path as a full disk, where nobody may mount one."""
    command = start(preexec_fn=limited(size))
    _, errors = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode == 2
    assert errors.startswith('error: ') and errors.count('\n') == 1, errors
    assert 'File too large' in errors
    assert not (tmp_path / 'seen').exists()
    assert (tmp_path / 'seen.partial').exists() == ('same command' in errors)
    assert start().wait(TIMEOUT_S) == 0
    assert contents(tmp_path / 'seen') == expected[0]


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 2 MB."""
    place = tmp_path / 'disk'
    place.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', str(place)],
                             capture_output=True)
    if mounted.returncode:
        pytest.skip('may not mount a file system')
    yield place
    subprocess.run(['umount', str(place)], check=True)


def noise(path, count):
    random = np.random.default_rng(0)
    return write_bag(path, {'/image': (IMAGE, [
        raw_image(i, random.integers(0, 255, (96, 128, 3)).astype(np.uint8))
        for i in range(count)])})


def test_too_little_space_is_seen_beforehand(weights, small_disk, tmp_path, capsys):
    source = noise(tmp_path / 'noise', 100)
    assert run(weights, source, small_disk / 'seen') == 2
    errors = capsys.readouterr().err
    assert 'expected about 4 MB of free space' in errors and 'got 2 MB' in errors
    assert errors.count('\n') == 1 and list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile(weights, small_disk, tmp_path, capsys):
    source = noise(tmp_path / 'noise', 40)
    filler = small_disk / 'film.mp4'

    def fill(done, total):
        if done == 20:
            with filler.open('wb') as stream:
                stream.write(bytes(os.statvfs(small_disk).f_bavail * 4096 - 100_000))
    options = BagOptions(str(weights.folder), workers=1)
    with pytest.raises(Exception, match='No space left on device.*same command'):
        predict_bag(source, small_disk / 'seen', options, fill)
    assert not (small_disk / 'seen').exists()
    filler.unlink()
    report = predict_bag(source, small_disk / 'seen', options)
    assert (report.count.frames, report.resumed) == (40, 16)
    assert len(read_bag(small_disk / 'seen')['/perception/detections']) == 40


def test_two_runs_do_not_write_one_bag(weights, source, tmp_path, capsys):
    with open_staging(tmp_path / 'seen'):
        assert run(weights, source, tmp_path / 'seen') == 2
        assert 'another run' in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(weights, source, tmp_path, capsys):
    (tmp_path / 'seen.partial').mkdir()
    (tmp_path / 'seen.partial' / 'thesis.tex').write_text('years of work')
    assert run(weights, source, tmp_path / 'seen') == 2
    assert 'other files' in capsys.readouterr().err
    assert (tmp_path / 'seen.partial' / 'thesis.tex').read_text() == 'years of work'


def test_no_bag_in_a_bag(weights, source, tmp_path, capsys):
    assert run(weights, source, source / 'seen') == 2
    assert 'outside of the input' in capsys.readouterr().err
    assert {item.name for item in source.iterdir()} == {'metadata.yaml', 'drive.mcap'}


def test_where_nobody_may_write(weights, source, capsys):
    assert run(weights, source, '/proc/seen') == 2
    errors = capsys.readouterr().err
    assert errors.startswith('error: /proc/seen') and errors.count('\n') == 1


def test_workers_must_be_a_number_from_0(weights, source, tmp_path, capsys):
    assert main([str(source), str(tmp_path / 'seen'), '--workers', '-1']) == 2
    assert 'workers: expected 0' in capsys.readouterr().err


def test_an_error_leaves_nothing_behind(tmp_path):
    with pytest.raises(ConfigError), open_staging(tmp_path / 'seen') as staging:
        staging.input.mkdir()
        raise ConfigError('no')
    assert list(Path(tmp_path).iterdir()) == []
