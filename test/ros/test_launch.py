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
"""The launch files as a user of an installed package runs them."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
import re
import shutil
import signal
import subprocess

from mtl_perception.bags import bag_types
from mtl_perception.messages import OUTPUT_TYPES
from mtl_perception.ros.recording import prediction_types
from node_client import Process
import pytest
from rosbags.highlevel import AnyReader
import yaml

pytest.importorskip('launch_ros')
PACKAGE = 'mtl_perception'


@pytest.fixture(scope='module', autouse=True)
def installed():
    """Skip where the package is not installed the way ``ros2 launch`` finds it."""
    index = pytest.importorskip('ament_index_python.packages')
    try:
        index.get_package_prefix(PACKAGE)
    except (LookupError, OSError):
        pytest.skip(f'{PACKAGE} is not in the ament index; build it with colcon and source it')
    if shutil.which('ros2') is None:
        pytest.skip('no ros2 command here')


def launch(file_name, *arguments, **environment):
    """Start ``ros2 launch`` in a process of its own."""
    return Process(['ros2', 'launch', PACKAGE, file_name, *arguments], **environment)


@pytest.mark.parametrize('file_name', ['perception.launch.py', 'demo.launch.py'])
def test_all_arguments_are_shown(file_name):
    """Both files take what the contract names."""
    text = subprocess.run(['ros2', 'launch', PACKAGE, file_name, '--show-args'], check=True,
                          capture_output=True, text=True).stdout
    for name in ('params_file', 'checkpoint', 'device', 'image', 'namespace', 'image_transport',
                 'rviz', 'record', 'record_image', 'record_dir', 'log_level', 'large_data'):
        assert f"'{name}':" in text


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_the_demo_sees_and_ends_cleanly(client, checkpoint_name, transport):
    """Camera and node find each other under any name; Ctrl-C ends both with status 0."""
    arguments = [f'checkpoint:={checkpoint_name}', 'namespace:=robot',
                 'image:=/front/image_raw', f'image_transport:={transport}']
    with launch('demo.launch.py', *arguments) as process:
        process.wait_for_output('listening')
        client.listen('robot/perception')
        client.wait_until(lambda: client.received['detections']
                          and client.received['classification'])
        status, _ = process.end(signal.SIGINT)
        assert status == 0, process.output
        assert process.output.count('finished cleanly') == 2
        assert 'Traceback' not in process.output
    client.stop_listening()


@pytest.mark.parametrize('setting, expected', [(None, 'LARGE_DATA?'), ('UDPv4', 'UDPv4')])
def test_large_data_leaves_the_users_own_transports(checkpoint_name, setting, expected):
    """What the user has set is the user's choice."""
    environment = {'FASTDDS_BUILTIN_TRANSPORTS': setting} if setting else {}
    with launch('perception.launch.py', f'checkpoint:={checkpoint_name}',
                **environment) as process:
        process.wait_for_output('listening')
        line = next(row for row in process.output.splitlines() if 'started with pid' in row)
        pid = int(line.rsplit('[', 1)[1].rstrip(']'))
        with open(f'/proc/{pid}/environ') as file:
            values = dict(item.split('=', 1) for item in file.read().split('\0') if '=' in item)
        assert values['FASTDDS_BUILTIN_TRANSPORTS'].startswith(expected)
        process.end(signal.SIGINT)


def test_bad_weights_are_one_line():
    """The reason is in the launch output."""
    with launch('perception.launch.py', 'checkpoint:=no_such_weights') as process:
        process.wait()
        assert 'error: ' in process.output and 'no_such_weights' in process.output
        assert 'Traceback' not in process.output


def launch_file():
    """Return the launch file as a module."""
    from ament_index_python.packages import get_package_share_directory
    path = Path(get_package_share_directory(PACKAGE)) / 'launch' / 'perception.launch.py'
    spec = spec_from_file_location('perception_launch', path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('arguments, camera', [
    (['record:=true'], None), (['record_image:=true'], '/front/image_raw'),
    (['record_image:=true', 'image_transport:=compressed'], '/front/image_raw/compressed')])
def test_a_recording_holds_exactly_the_predictions(client, checkpoint_name, tmp_path, arguments,
                                                   camera):
    """And the image that the node listens to, if asked for; its name says who and when."""
    arguments = [f'checkpoint:={checkpoint_name}', 'namespace:=robot', 'image:=/front/image_raw',
                 f'record_dir:={tmp_path}', *arguments]
    with launch('demo.launch.py', *arguments) as process:
        process.wait_for_output('listening')
        client.listen('robot/perception')
        client.wait_until(lambda: len(client.received['detections']) > 20)
        status, _ = process.end(signal.SIGINT)
        assert status == 0, process.output
        assert 'Traceback' not in process.output
    client.stop_listening()
    bag, = tmp_path.iterdir()
    assert re.fullmatch(r'robot_perception_\d{4}(-\d\d){5}', bag.name)
    with AnyReader([bag], default_typestore=bag_types()) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
    assert counts.keys() == {*prediction_types('/robot/perception'), *([camera] if camera else [])}
    assert all(counts[f'/robot/perception/{output}'] > 5 for output in OUTPUT_TYPES)
    assert camera is None or counts[camera] > 5


def test_a_recording_that_cannot_be_leaves_the_node_running(client, checkpoint_name, tmp_path):
    """One line says why; the robot still sees."""
    with launch('demo.launch.py', f'checkpoint:={checkpoint_name}', 'record:=true',
                f'record_dir:={tmp_path}/none') as process:
        process.wait_for_output('listening')
        assert process.output.count('error: not recording: ') == 1
        client.listen('perception')
        client.wait_until(lambda: client.received['detections'])
        assert process.end(signal.SIGINT)[0] == 0, process.output
    client.stop_listening()


@pytest.mark.parametrize('transport, expected', [('', '/robot/front/image'),
                                                 ('compressed', '/robot/front/image/compressed')])
def test_rviz_is_told_the_names_that_the_node_has(transport, expected):
    """The displays follow namespace, image and transport."""
    module = launch_file()
    value = {'image': 'front/image', 'namespace': 'robot', 'image_transport': transport,
             'params_file': str(module.CONFIG / 'perception.yaml')}
    text = module.rviz_config(value)
    displays = yaml.safe_load(text)['Visualization Manager']['Displays']
    assert [display['Topic']['Value'] for display in displays] == [
        expected, '/robot/perception/overlay', '/robot/perception/segmentation_color',
        '/robot/perception/legend']


def test_cameras_and_transport_may_be_in_the_parameter_file(tmp_path):
    """What is recorded and shown is what the node listens to and answers."""
    path = tmp_path / 'mine.yaml'
    value = {'image': '/cam', 'namespace': 'robot', 'image_transport': '',
             'params_file': str(path)}
    path.write_text('/**:\n  ros__parameters: {image_transport: compressed}\n')
    assert launch_file().cameras(value) == {'/robot/perception': '/cam/compressed'}
    assert launch_file().cameras({**value, 'image_transport': 'raw'}) == {
        '/robot/perception': '/cam'}
    path.write_text('/**:\n  ros__parameters: {images: [front/image, rear/image]}\n')
    assert launch_file().cameras(value) == {
        '/robot/front/perception': '/robot/front/image',
        '/robot/rear/perception': '/robot/rear/image'}
