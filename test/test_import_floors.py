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
"""The floors of the house hold: who may import whom, and what nobody needs to import."""

import ast
from pathlib import Path
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

PACKAGE = 'mtl_perception'
ROOT = Path(__file__).resolve().parent.parent
MODULES = {'.'.join(path.relative_to(ROOT).with_suffix('').parts).replace('.__init__', ''): path
           for path in (ROOT / PACKAGE).rglob('*.py')}

# A folder stands for all in it that is not named itself.
FLOORS = (
    'errors frame prediction config card recipe household.classes answers_cdr',
    'image_codec preprocess postprocess messages overlay network losses assignment metrics plots '
    'distillation distributed corruptions run_folder worker_process helper_process markdown '
    'output_names bag_records mcap_walk onnx_graph',
    'checkpoint backends data augment bags bag_recovery bag_survey prediction_folder '
    'initial_weights',
    'engine training run_report training_speed evaluation evaluation_report export benchmark '
    'bag_prediction bag_staging bag_workers bag_worker_imports bag_run bag_fleet bag_speed '
    'bag_pictures household comparison peers race quantisation precision_speed',
    'cli ros',
)
SIBLINGS = {
    ('frame', 'errors'), ('config', 'errors'), ('card', 'errors'), ('recipe', 'errors'),
    ('answers_cdr', 'prediction'),
    ('postprocess', 'preprocess'), ('losses', 'postprocess'), ('losses', 'assignment'),
    ('distillation', 'losses'), ('initial_weights', 'checkpoint'), ('initial_weights', 'backends'),
    ('backends', 'checkpoint'), ('augment', 'data'), ('data', 'augment'), ('data', 'bags'),
    ('training', 'engine'), ('training', 'evaluation'), ('training', 'export'),
    ('training', 'run_report'), ('training_speed', 'training'),
    ('evaluation_report', 'evaluation'), ('evaluation_report', 'engine'),
    ('mcap_walk', 'bag_records'), ('bag_recovery', 'bags'), ('bag_survey', 'bags'),
    ('bag_staging', 'bag_prediction'), ('bag_workers', 'bag_prediction'),
    ('bag_worker_imports', 'bag_workers'), ('bag_worker_imports', 'bags'),
    ('bag_run', 'bag_prediction'), ('bag_run', 'bag_staging'), ('bag_run', 'bag_workers'),
    ('bag_run', 'engine'), ('bag_fleet', 'bag_run'), ('bag_speed', 'bag_run'),
    ('bag_speed', 'engine'), ('benchmark', 'engine'), ('bag_prediction', 'engine'),
    ('race', 'engine'), ('race', 'peers'),
    ('comparison', 'engine'), ('comparison', 'evaluation'), ('comparison', 'evaluation_report'),
    ('prediction_folder', 'data'),
    ('ros', 'cli'),
}
ROS = ('rclpy', 'ament_index_python', 'launch', 'launch_ros', 'cv_bridge')
CODEC_MAY_TRY = {'ament_index_python', 'cv_bridge'}
TORCHLESS = ('engine', 'backends.onnx_provider', 'backends.onnx_backend', 'cli.predict',
             'cli.predict_bag', 'cli.benchmark', 'cli.compare', 'ros.recorder',
             'ros.node', 'ros.camera', 'ros.demo')


def place(module):
    """Return the floor of ``module`` and the name under which the table has it."""
    name = module.partition('.')[2]
    while name:
        for floor, names in enumerate(FLOORS):
            if name in names.split():
                return floor, name
        name = name.rpartition('.')[0]
    return None


def imports(path):
    """Yield the dotted name of each module that the file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: expected absolute imports only'
            for alias in node.names:
                inner = f'{node.module}.{alias.name}'
                yield inner if inner in MODULES else node.module


def is_ros(name):
    """Tell whether a top-level module comes with ROS."""
    return name in ROS or name.endswith(('_msgs', '_interfaces'))


def run_without(blocked, code):
    """Run ``code`` in a Python of its own in which ``blocked`` cannot be imported."""
    program = (f'import sys\nsys.modules.update(dict.fromkeys({list(blocked)!r}))\n'
               f'sys.path.insert(0, {str(ROOT)!r})\n{code}')
    return subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          timeout=120)


@pytest.mark.parametrize('module', sorted(set(MODULES) - {PACKAGE}))
def test_a_module_imports_only_from_below(module):
    """Each import of the package goes to a lower floor, the own folder or a named sibling."""
    assert place(module) is not None, f'{module} has no floor: give it one in FLOORS'
    floor, name = place(module)
    wrong = []
    for imported in imports(MODULES[module]):
        if imported.partition('.')[0] == PACKAGE and imported != PACKAGE:
            other_floor, other = place(imported)
            if not (other_floor < floor or other == name or (name, other) in SIBLINGS):
                wrong.append(imported)
    assert wrong == []


@pytest.mark.parametrize('module', sorted(set(MODULES)))
def test_only_the_ros_folder_imports_ros(module):
    """Messages and rclpy stay behind the doors; the image codec asks whether ROS is there."""
    found = {name.partition('.')[0] for name in imports(MODULES[module])
             if is_ros(name.partition('.')[0])}
    if module.startswith(f'{PACKAGE}.ros'):
        return
    assert found <= (CODEC_MAY_TRY if module == f'{PACKAGE}.image_codec' else set())


def test_the_floors_below_import_without_ros():
    """All but the ROS doors imports on a machine that has no ROS."""
    pytest.importorskip('torch')
    pytest.importorskip('mujoco')
    pytest.importorskip('openvino')
    depends = ElementTree.parse(ROOT / 'package.xml').getroot().iter('exec_depend')
    ros = [element.text for element in depends if not element.text.startswith('python3-')]
    assert {'rclpy', 'vision_msgs', 'cv_bridge'} <= set(ros)
    modules = sorted(name for name in MODULES if not name.startswith(f'{PACKAGE}.ros'))
    run = run_without(ros, '\n'.join(f'import {name}' for name in modules))
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize('module', TORCHLESS)
def test_running_the_network_needs_no_training_library(module):
    """What `make setup` installs is enough for the node and the commands that only predict."""
    if module.startswith('ros.'):
        pytest.importorskip('rclpy')
        pytest.importorskip('vision_msgs')
    blocked = ('torch', 'torchvision', 'mujoco', 'onnx', 'safetensors', 'matplotlib', 'PIL',
               'faster_coco_eval')
    run = run_without(blocked, f'import {PACKAGE}.{module}')
    assert run.returncode == 0, run.stderr


def test_a_prediction_without_torch(tmp_path):
    """The shipped weights answer for a picture while torch cannot be imported."""
    cv2 = pytest.importorskip('cv2')
    numpy = pytest.importorskip('numpy')
    picture = tmp_path / 'grey.png'
    assert cv2.imwrite(str(picture), numpy.full((48, 64, 3), 90, numpy.uint8))
    arguments = [str(picture), '--out', str(tmp_path / 'out')]
    run = run_without(('torch', 'torchvision', 'onnx', 'safetensors', 'mujoco'),
                      f'from {PACKAGE}.cli.predict import main\nsys.exit(main({arguments!r}))')
    assert run.returncode == 0, run.stdout + run.stderr
    assert any((tmp_path / 'out').iterdir())
