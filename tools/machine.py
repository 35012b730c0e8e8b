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
"""What a machine must have before the set-up can begin, and what to do where it is missing."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig

OLDEST, NEWEST = (3, 10), (3, 13)
OLDEST_GLIBC = (2, 28)
ROS_MODULES = {
    'rclpy': 'rclpy',
    'cv2': 'python3-opencv',
    'cv_bridge': 'cv-bridge',
    'diagnostic_msgs': 'diagnostic-msgs',
    'lifecycle_msgs': 'lifecycle-msgs',
    'numpy': 'python3-numpy',
    'rcl_interfaces': 'rcl-interfaces',
    'sensor_msgs': 'sensor-msgs',
    'std_msgs': 'std-msgs',
    'vision_msgs': 'vision-msgs',
    'yaml': 'python3-yaml',
}


def _version(numbers):
    return '.'.join(str(number) for number in numbers)


def _other_python():
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        if shutil.which(f'python3.{minor}'):
            return f'make setup PYTHON=python3.{minor}'
    return f'install one and run make setup PYTHON=python{_version(NEWEST)}'


def _python_problems(newest):
    problems = []
    if not OLDEST <= sys.version_info[:2] <= newest:
        problems.append(f'expected Python {_version(OLDEST)} to {_version(NEWEST)}, got '
                        f'{platform.python_version()} ({sys.executable}); {_other_python()}')
    elif importlib.util.find_spec('ensurepip') is None:
        problems.append('expected Python with the modules venv and ensurepip, got one without; '
                        f'sudo apt install python{_version(sys.version_info[:2])}-venv')
    return problems


def wheel_problems():
    """
    Return what keeps this machine from running ROS 2 from wheels.

    :return: a list of lines 'expected, got; what to do', empty where nothing is missing
    """
    system = f'{platform.system()} {platform.machine()}'
    if (sys.platform, platform.machine()) != ('linux', 'x86_64'):
        return [f'expected Linux on x86-64, for which ROS 2 has wheels, got {system}; install '
                'ROS 2 (apt, a container or RoboStack), source its setup.bash and run this again']
    libc, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split('.')[:2] if part.isdigit())
    if libc != 'glibc' or numbers < OLDEST_GLIBC:
        return [f'expected glibc {_version(OLDEST_GLIBC)} or later, for which ROS 2 has wheels, '
                f'got {libc or "another C library"} {version}; use a newer system or a container']
    problems = _python_problems(NEWEST)
    if problems:
        return problems
    for variable, names in (('CC', ('cc', 'gcc', 'clang')), ('CXX', ('c++', 'g++', 'clang++'))):
        names = (os.environ[variable].split()[0],) if os.environ.get(variable) else names
        if not any(shutil.which(name) for name in names):
            problems.append(f'expected a compiler ({" or ".join(names)}), got none on the PATH; '
                            'sudo apt install g++')
    include = sysconfig.get_paths()['include']
    if not os.path.exists(os.path.join(include, 'Python.h')):
        problems.append(f'expected Python.h in {include}, got none; '
                        f'sudo apt install python{_version(sys.version_info[:2])}-dev')
    return problems


def _import_error(module):
    run = subprocess.run([sys.executable, '-c', f'import {module}'], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    lines = run.stdout.decode(errors='replace').splitlines()
    return None if run.returncode == 0 else (lines or ['no message'])[-1]


def distro_problems(distro):
    """
    Return what keeps the sourced ROS distribution from running the node.

    :param distro: its name, such as ``jazzy``
    :return: as ``wheel_problems``
    """
    problems = _python_problems(newest=(3, 99))
    if problems:
        return problems
    error = _import_error('rclpy')
    if error is not None and importlib.util.find_spec('rclpy') is not None:
        return [f'expected a Python that imports the rclpy of ROS {distro}, got '
                f'{platform.python_version()} ({sys.executable}): {error}; '
                'make setup PYTHON=/usr/bin/python3']
    missing = [module for module in ROS_MODULES if _import_error(module) is not None]
    if missing:
        packages = [name if name.startswith('python3-') else f'ros-{distro}-{name}'
                    for name in (ROS_MODULES[module] for module in missing)]
        problems.append(f'expected ROS {distro} with {", ".join(missing)}, got none; '
                        f'sudo apt install {" ".join(packages)}')
    return problems
