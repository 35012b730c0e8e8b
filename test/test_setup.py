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
"""Set-up: what it does again, what it leaves, and how it says what is missing."""

import os
from pathlib import Path
import platform
import signal
import subprocess
import sys
import time

import pytest

TOOLS = Path(__file__).resolve().parent.parent / 'tools'
sys.path.insert(0, str(TOOLS))

import machine  # noqa: E402, I100 tools/ is no package
import make_venv  # noqa: E402, I100
import progress  # noqa: E402, I100


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Point the set-up at an empty repository and return its folder."""
    monkeypatch.setattr(make_venv, 'ROOT', tmp_path)
    monkeypatch.setattr(make_venv, 'VENV', tmp_path / '.venv')
    monkeypatch.setattr(make_venv, 'LOG', tmp_path / '.venv' / 'setup.log')
    (tmp_path / '.venv' / 'bin').mkdir(parents=True)
    return tmp_path


def a_step(name='packages', facts=()):
    """Return a step made from the file ``list``."""
    return make_venv.Step(name, 'a title', ['python', '-c', ''], ['list'], facts)


def test_a_finished_step_is_not_done_again(tree):
    """The stamp holds until a source or a fact changes."""
    (tree / 'list').write_text('numpy==1')
    step = a_step()
    assert not step.is_done()
    step.finish()
    assert step.is_done() and a_step().is_done()
    assert not a_step(facts=['other']).is_done()
    (tree / 'list').write_text('numpy==2')
    assert not a_step().is_done()


def test_everything_is_done_again_in_another_environment(tree, monkeypatch):
    """Where the environment's own stamp does not fit or its Python is gone, no step is kept."""
    (tree / 'list').write_text('')
    monkeypatch.setattr(make_venv, 'PYTHON', tree / '.venv' / 'bin' / 'python')
    make_venv.PYTHON.symlink_to(sys.executable)
    steps = [a_step('venv'), a_step('packages'), a_step('check')]
    for step in steps[:2]:
        step.finish()
    assert make_venv.steps_left(steps) == steps[2:]
    assert make_venv.steps_left([a_step('venv', ['3.10']), *steps[1:]])[0].name == 'venv'
    make_venv.PYTHON.unlink()
    assert make_venv.steps_left(steps) == steps


def test_a_half_installed_package_is_forgotten(tree):
    """Only what pip signed as installed stays; the rest is installed again."""
    site = tree / '.venv' / 'lib' / 'python3.11' / 'site-packages'
    whole, half, empty = (site / f'{name}-1.dist-info' for name in ('whole', 'half', 'empty'))
    for folder in (whole, half, empty):
        folder.mkdir(parents=True)
    (whole / 'RECORD').write_text('whole.py,,\nwhole-1.dist-info/INSTALLER,sha256=x,4\n')
    (half / 'RECORD').write_text('half.py,,\nhalf-1.dist-info/METADATA,sha256=x,4\n')
    make_venv.forget_half_installed()
    assert whole.exists() and not half.exists() and not empty.exists()


@pytest.mark.parametrize('distro, prefixes, expected', [
    ('', '', ''),
    ('jazzy', '/opt/ros/jazzy', 'jazzy'),
    ('jazzy', '', ''),
    ('', '/opt/ros/jazzy', ''),
    ('kilted', str(make_venv.VENV), ''),
    ('jazzy', f'{make_venv.VENV}:/opt/ros/jazzy', 'jazzy')])
def test_a_sourced_distribution_is_seen(distro, prefixes, expected, monkeypatch):
    """A shell that names this environment itself has sourced no distribution."""
    monkeypatch.setenv('ROS_DISTRO', distro)
    monkeypatch.setenv('AMENT_PREFIX_PATH', prefixes)
    assert make_venv.sourced_distro() == expected


def test_a_distribution_is_used_and_not_replaced():
    """Beside a sourced ROS no ROS wheel, numpy or OpenCV is installed."""
    steps = make_venv.plan('jazzy', '3.12', [])
    assert [step.name for step in steps] == ['venv', 'packages', 'package', 'check']
    assert '--system-site-packages' in steps[0].command
    assert [part for part in steps[1].command if part.endswith('.txt')] == \
        ['requirements/robot.txt']
    robot = (make_venv.ROOT / 'requirements' / 'robot.txt').read_text('utf-8')
    assert not any(line.startswith(('ros-', 'numpy', 'opencv')) for line in robot.splitlines())


def test_setup_installs_no_torch():
    """Running the node needs no training library, not even as a dependency."""
    lists = [part for step in make_venv.plan('', '3.11', []) for part in step.command
             if part.endswith('.txt')]
    assert lists
    for name in lists:
        lines = (make_venv.ROOT / name).read_text('utf-8').splitlines()
        assert not any(line.startswith(('torch', 'nvidia', 'mujoco')) for line in lines)


def test_a_package_that_the_distribution_lacks_is_named():
    """The line that installs it on a robot is in the message."""
    pytest.importorskip('rclpy')
    try:
        import cv_bridge
    except ImportError:
        problems = machine.distro_problems('jazzy')
        assert len(problems) == 1
        assert 'sudo apt install' in problems[0] and 'ros-jazzy-cv-bridge' in problems[0]
    else:
        assert cv_bridge and 'cv_bridge' not in ' '.join(machine.distro_problems('jazzy'))


@pytest.mark.parametrize('what, change, expected', [
    ('aarch64', lambda patch: patch.setattr(platform, 'machine', lambda: 'aarch64'),
     'expected Linux on x86-64'),
    ('macOS', lambda patch: patch.setattr(sys, 'platform', 'darwin'),
     'expected Linux on x86-64'),
    ('old glibc', lambda patch: patch.setattr(platform, 'libc_ver', lambda: ('glibc', '2.27')),
     'expected glibc 2.28'),
    ('musl', lambda patch: patch.setattr(platform, 'libc_ver', lambda: ('', '')),
     'expected glibc 2.28'),
    ('old Python', lambda patch: patch.setattr(sys, 'version_info', (3, 9, 18)),
     'expected Python 3.10 to 3.13'),
    ('new Python', lambda patch: patch.setattr(sys, 'version_info', (3, 14, 0)),
     'expected Python 3.10 to 3.13'),
    ('no compiler', lambda patch: patch.setenv('PATH', '/nowhere'), 'sudo apt install g++')])
def test_what_is_missing_is_named(what, change, expected, monkeypatch):
    """Each says in one line what was expected, what came and what to do."""
    if (sys.platform, platform.machine()) != ('linux', 'x86_64'):
        pytest.skip('this machine itself has no ROS wheels')
    for variable in ('CC', 'CXX'):
        monkeypatch.delenv(variable, raising=False)
    change(monkeypatch)
    problems = machine.wheel_problems()
    assert any(expected in problem for problem in problems), (what, problems)
    assert all('\n' not in problem and ', got ' in problem for problem in problems)


def test_the_end_of_a_failed_step_is_shown(tmp_path, capsys):
    """The error carries the last lines of the output, the log all of it."""
    log = tmp_path / 'log'
    program = 'print("\\n".join(map(str, range(100)))); raise SystemExit(3)'
    with pytest.raises(progress.StepFailed) as caught:
        progress.run_step('[1/1] counting', [sys.executable, '-c', program], log)
    assert str(caught.value).splitlines() == [str(number) for number in range(85, 100)]
    assert '\n0\n' in log.read_text()
    assert 'counting  failed' in capsys.readouterr().out


def test_no_network_is_recognised():
    """What pip says offline becomes advice."""
    tail = 'ERROR: No matching distribution found for numpy==2.4.6'
    assert 'network' in make_venv.advice(tail)
    assert 'disk' in make_venv.advice('OSError: [Errno 28] No space left on device')
    assert 'setup.log' in make_venv.advice('something else')


def test_interrupted_steps_leave_no_process(tmp_path):
    """SIGTERM to the set-up ends the step's command before the set-up itself ends."""
    program = (
        f'import signal, sys; sys.path.insert(0, {str(TOOLS)!r})\n'
        'from progress import run_step\n'
        'signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n'
        f'run_step("t", ["sh", "-c", "echo $$ > pid; exec sleep 60"], "log")\n')
    process = subprocess.Popen([sys.executable, '-c', program], cwd=tmp_path)
    pid_file = tmp_path / 'pid'
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_second_run_is_quick_and_needs_no_network():
    """With nothing changed, the set-up answers within two seconds."""
    if sys.prefix != str(make_venv.VENV):
        pytest.skip('these tests run in another environment than .venv')
    environment = dict(os.environ, PIP_INDEX_URL='http://127.0.0.1:9/', PIP_RETRIES='0')
    began = time.monotonic()
    run = subprocess.run([sys.executable, str(TOOLS / 'make_venv.py'), '--any-python'],
                         capture_output=True, text=True, env=environment, timeout=60)
    assert (run.returncode, run.stdout) == (0, '.venv is ready\n'), run.stderr
    assert time.monotonic() - began < 2.0
