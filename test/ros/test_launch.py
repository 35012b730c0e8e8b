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

import shutil
import signal
import subprocess

from node_client import Process
import pytest

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
                 'rviz', 'record', 'log_level', 'large_data'):
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
