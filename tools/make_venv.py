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
"""
Build .venv: what runs the node, and on request what trains and tests.

A step leaves a stamp, a digest of all it was made from, once it is done; the next run does the
steps whose stamp is missing or other. Nothing is written outside the repository.
"""

import argparse
import contextlib
import hashlib
import os
from pathlib import Path
import shutil
import signal
import sys
import time

import machine
from progress import run_step, StepFailed

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
LOG = VENV / 'setup.log'
CACHE = ROOT / '.cache'
EXTRAS = {'train': 'torch, mujoco and assets (5 GB)', 'test': 'what the tests need'}
CONSTRAINTS = 'requirements/constraints.txt'
NUMPY_CONSTRAINT = VENV / 'numpy.txt'
PIP = [str(PYTHON), '-m', 'pip', '--no-input', 'install', '--progress-bar', 'off',
       '--no-warn-script-location']


class Step:
    """One thing to do, with the digest of what it is made from."""

    def __init__(self, name, title, command, sources=(), facts=()):
        """
        Describe the step.

        :param name: of its stamp
        :param title: for people
        :param command: list of arguments
        :param sources: files and folders of the repository that it is made from
        :param facts: strings that it depends on besides
        """
        self.name = name
        self.title = title
        self.command = command
        digest = hashlib.sha256('\0'.join([str(VENV), *map(str, command[1:]), *facts]).encode())
        for source in sources:
            path = ROOT / source
            for file in sorted(path.rglob('*')) if path.is_dir() else [path]:
                if file.is_file():
                    digest.update(f'\0{file.relative_to(ROOT)}\0'.encode() + file.read_bytes())
        self.digest = digest.hexdigest()

    @property
    def stamp(self):
        """Return the path of the step's stamp."""
        return VENV / 'stamps' / self.name

    def is_done(self):
        """Tell whether the stamp says that nothing changed since."""
        return self.stamp.is_file() and self.stamp.read_text() == self.digest

    def finish(self):
        """Write the stamp, whole or not at all."""
        self.stamp.parent.mkdir(exist_ok=True)
        partial = self.stamp.with_suffix('.partial')
        partial.write_text(self.digest)
        partial.replace(self.stamp)


def sourced_distro():
    """Return the name of the ROS distribution that this shell has sourced, or ''."""
    prefixes = [Path(prefix) for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(':')
                if prefix]
    return os.environ.get('ROS_DISTRO', '') if any(p != VENV for p in prefixes) else ''


def python_version(keep):
    """Return such as ``3.11``: of the Python that runs this, or if ``keep`` of .venv's."""
    configuration = VENV / 'pyvenv.cfg'
    if keep and configuration.is_file():
        for line in configuration.read_text().splitlines():
            name, _, value = line.partition(' = ')
            if name == 'version':
                return '.'.join(value.split('.')[:2])
    return '.'.join(map(str, sys.version_info[:2]))


def plan(distro, version, extras):
    """
    Return the steps, in order, that make the environment.

    :param distro: name of the sourced ROS distribution, or '' for wheels
    :param version: of Python, such as ``3.11``
    :param extras: keys of ``EXTRAS``, each a list in requirements/
    """
    lists = ['robot'] if distro else ['runtime', 'ros', 'build']
    sources = [f'requirements/{name}.txt' for name in lists] + [CONSTRAINTS]
    venv = [sys.executable, '-m', 'venv', str(VENV)] + ['--system-site-packages'] * bool(distro)
    requirements = [argument for name in lists for argument in ('-r', f'requirements/{name}.txt')]
    steps = [
        Step('venv', f'Python {version} environment', venv, sources, [distro, version]),
        Step('packages', f'packages for ROS {distro}' if distro else 'ROS 2 Kilted and packages',
             [*PIP, *requirements], sources)]
    if not distro:
        steps.append(Step('vision_msgs', 'vision_msgs from msgs/vision_msgs',
                          [str(PYTHON), 'tools/build_vision_msgs.py'],
                          ['msgs/vision_msgs', 'tools/build_vision_msgs.py']))
    steps.append(Step('package', 'mtl_perception and its commands',
                      [*PIP, '--no-deps', '--no-build-isolation', '--use-pep517', '-e', '.'],
                      ['setup.py', 'setup.cfg']))
    steps.append(Step('check', 'a look whether it all works', [str(PYTHON), 'tools/check_venv.py'],
                      ['tools/check_venv.py'], [step.digest for step in steps]))
    steps.extend(Step(extra, EXTRAS[extra], [*PIP, '-r', f'requirements/{extra}.txt'],
                      [f'requirements/{extra}.txt', CONSTRAINTS], [steps[0].digest])
                 for extra in extras)
    return steps


def steps_left(steps):
    """Return the steps to do: all of them where the environment itself is other or broken."""
    if not (steps[0].is_done() and PYTHON.exists()):
        return steps
    return [step for step in steps if not step.is_done()]


def environment(step, distro):
    """Return the variables with which ``step`` runs: no setting of pip's leads out of .venv."""
    variables = {name: value for name, value in os.environ.items()
                 if name not in ('PIP_TARGET', 'PIP_PREFIX', 'PIP_USER', 'PIP_REQUIRE_VIRTUALENV',
                                 'PYTHONHOME', '_ROS_WHEELS_BOOTSTRAP_COMPLETE')}
    if not (distro and step.name == 'check'):
        variables.pop('PYTHONPATH', None)
    constraints = CONSTRAINTS + (f' {NUMPY_CONSTRAINT.relative_to(ROOT)}' if distro else '')
    variables.update(
        PIP_CACHE_DIR=str(CACHE / 'pip'), PIP_CONSTRAINT=constraints,
        PIP_BUILD_CONSTRAINT=constraints, PIP_DISABLE_PIP_VERSION_CHECK='1',
        PYTHONUNBUFFERED='1', ROS_LOG_DIR=str(VENV / 'tmp'), TMPDIR=str(VENV / 'tmp'))
    return variables


def forget_half_installed():
    """Make pip install again what an interruption left half installed: pip signs when done."""
    for info in VENV.glob('lib/python*/site-packages/*.dist-info'):
        record = info / 'RECORD'
        if not record.is_file() or '/INSTALLER,' not in record.read_text():
            shutil.rmtree(info)


def keep_numpy(distro):
    """Hold pip to the major version of numpy that the distribution's cv_bridge is built for."""
    if distro:
        import numpy
        NUMPY_CONSTRAINT.write_text(f'numpy<{int(numpy.__version__.split(".")[0]) + 1}\n')


def run_steps(steps, distro, lock):
    """Do ``steps`` in order and stamp each."""
    if steps[0].name == 'venv':
        if VENV.exists():
            print('building .venv anew: it was made for another Python, ROS, folder or list of '
                  'requirements, or not finished', flush=True)
            shutil.rmtree(VENV)
        VENV.mkdir()
        keep_numpy(distro)
    temporary = VENV / 'tmp'
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    forget_half_installed()
    for number, step in enumerate(steps, 1):
        run_step(f'[{number}/{len(steps)}] {step.title}', step.command, LOG, cwd=str(ROOT),
                 env=environment(step, distro), pass_fds=(lock.fileno(),))
        step.finish()
    shutil.rmtree(temporary)


@contextlib.contextmanager
def only_set_up():
    """Wait until no other set-up, nor a step that one left behind, works on .venv."""
    import fcntl  # Windows has none, and is told so by then
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / 'setup.lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('another set-up works on this folder: waiting for it to end', flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def refuse(problems):
    """Print what is missing and return the exit status."""
    print('\n'.join(f'error: {problem}' for problem in problems), file=sys.stderr)
    return 2


def advice(tail):
    """Return what to do about the end of a failed step's output."""
    if any(sign in tail for sign in ('NewConnectionError', 'name resolution', 'ConnectTimeout',
                                     'No matching distribution', 'Connection broken')):
        return 'pip could not fetch a package: connect to the network (or set PIP_INDEX_URL to ' \
               'a mirror) and run the same command again'
    if 'No space left' in tail:
        return 'the disk is full: free 2 GB (12 GB for training) and run the same command again'
    return f'the whole output is in {LOG.relative_to(ROOT)}; run the same command again to go on'


def main(argv=None):
    """Bring .venv up to date and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    for extra, title in EXTRAS.items():
        parser.add_argument(f'--{extra}', dest='extras', action='append_const', const=extra,
                            default=[], help=f'add {title}')
    parser.add_argument('--any-python', action='store_true',
                        help='keep a finished .venv whatever its Python')
    arguments = parser.parse_args(argv)
    distro = sourced_distro()
    if os.name != 'posix':
        return refuse(machine.wheel_problems())
    with only_set_up() as lock:
        version = python_version(arguments.any_python)
        left = steps_left(plan(distro, version, arguments.extras))
        if not left:
            print('.venv is ready', flush=True)
            return 0
        if left[0].name == 'venv':
            problems = machine.distro_problems(distro) if distro else machine.wheel_problems()
            if problems:
                return refuse(problems)
        began = time.monotonic()
        run_steps(left, distro, lock)
    print(f'.venv is ready ({time.monotonic() - began:.0f} s)', flush=True)
    return 0


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except StepFailed as failure:
        print(f'{failure}\n\nerror: {advice(str(failure))}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('\ninterrupted; run the same command again to go on', file=sys.stderr)
        sys.exit(130)
