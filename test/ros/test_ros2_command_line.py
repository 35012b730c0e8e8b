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
"""The node through ROS's own command line: the same answers as over the tests' client."""

from pathlib import Path
import re
import shutil
import subprocess
import time

from node_client import NodeProcess, perception, Process
import pytest
import yaml

NODE = '/perception'
CAMERA = 'mtl_perception.ros.camera'
TOUR = Path(__file__).parents[1] / 'data' / 'household_tour.mp4'
MALFORMED = '{height: 4, width: 4, encoding: bgr8, step: 12, data: [1, 2, 3]}'
TIMEOUT_S = 30
LISTEN_S = 7

pytestmark = pytest.mark.skipif(shutil.which('ros2') is None, reason='no ros2 command here')


def ros2(verb, *arguments, seconds=TIMEOUT_S):
    """Return what ``ros2`` prints, within a time."""
    with Process(['ros2', *verb.split(), *arguments], PYTHONUNBUFFERED='1') as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.end()
        return process.output


@pytest.fixture(scope='module')
def node(ros_log_dir, checkpoint_name):
    """Start the node."""
    with perception(f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000') as process:
        process.wait_for_output('listening')
        deadline = time.monotonic() + TIMEOUT_S
        while 'Publisher count: 1' not in ros2('topic info', f'{NODE}/detections'):
            assert time.monotonic() < deadline, 'ros2 does not find the node'
        yield process
        ros2('daemon stop')  # it would outlive the tests
        assert process.end()[0] == 0, process.output


@pytest.fixture
def camera(node):
    """Play ten frames a second."""
    with NodeProcess(CAMERA, str(TOUR), '--rate', '10') as process:
        process.wait_for_output('playing')
        yield process


def next_header(seconds=TIMEOUT_S):
    """Return the header of the next answer; a type that is given need not be discovered."""
    return ros2('topic echo', '--once', '--field', 'header', f'{NODE}/detections',
                'vision_msgs/msg/Detection2DArray', seconds=seconds)


def value(name):
    """Return a parameter."""
    return ros2('param get', '--hide-type', NODE, name).strip()


def counts():
    """Return what the node counts."""
    text = ros2('topic echo', '--once', '--full-length', '/diagnostics',
                'diagnostic_msgs/msg/DiagnosticArray')
    return {name: int(number) for name, number in re.findall(
        r"key: (\w+)\s+value: '(\d+)'", text)}


def test_the_answers_carry_the_cameras_header(camera):
    """``topic echo`` shows one, ``topic hz`` the camera's rate."""
    header = yaml.safe_load(next_header().partition('---')[0])
    assert header['frame_id'] == 'camera_optical_frame' and header['stamp']['sec'] > 0
    rates = re.findall(r'average rate: ([\d.]+)',
                       ros2('topic hz', f'{NODE}/detections', seconds=LISTEN_S))
    assert 7.0 < float(rates[-1]) < 12.0


def test_parameters_are_set_or_refused(node, tmp_path):
    """What is refused changes nothing; what was dumped can be loaded."""
    assert 'successful' in ros2('param set', NODE, 'score_threshold', '0.5')
    for name, wrong in (('score_threshold', '1.5'), ('score_threshold', 'high'),
                        ('checkpoint', 'other')):
        before = value(name)
        assert 'successful' not in ros2('param set', NODE, name, wrong)
        assert value(name) == before
    file = tmp_path / 'dumped.yaml'
    file.write_text(ros2('param dump', NODE))
    assert yaml.safe_load(file.read_text())[NODE]['ros__parameters']['score_threshold'] == 0.5
    assert 'successful' in ros2('param set', NODE, 'score_threshold', '0.3')
    ros2('param load', NODE, str(file))
    assert value('score_threshold') == '0.5'


def test_the_lifecycle_can_be_walked(camera):
    """Only the active node answers."""
    for transition, state in (('deactivate', 'inactive'), ('cleanup', 'unconfigured'),
                              ('configure', 'inactive'), ('activate', 'active')):
        assert 'Transitioning successful' in ros2('lifecycle set', NODE, transition)
        assert ros2('lifecycle get', NODE).startswith(state)
        answer = next_header(LISTEN_S if state != 'active' else TIMEOUT_S)
        assert ('stamp' in answer) == (state == 'active')


def test_a_malformed_picture_is_counted_and_explained(node):
    """More are invalid, and the log says why."""
    before = counts()
    # The first may come while the node turns to what this publisher offers.
    ros2('topic pub', '--times', '3', '--rate', '1', '/image', 'sensor_msgs/msg/Image', MALFORMED)
    node.wait_for_output('frame dropped: bgr8 4x4: expected 4 rows of 12 bytes')
    after = counts()
    assert before['invalid'] < after['invalid'] <= before['invalid'] + 3
    assert after['received'] == sum(after[name] for name in (
        'processed', 'replaced', 'stale', 'invalid', 'pending'))


def test_the_topics_are_those_of_the_contract(node):
    """``node info`` shows them all."""
    text = ros2('node info', NODE)
    for topic in ('detections', 'segmentation', 'classification', 'classification_scores',
                  'segmentation_color', 'overlay', 'detections/label_info'):
        assert f'{NODE}/{topic}: ' in text
    assert '/image: sensor_msgs/msg/Image' in text and '/diagnostics: ' in text
