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
Start the node ``perception``, and beside it, if asked for, rviz2 and a recording.

ros2 launch mtl_perception perception.launch.py image:=/camera/image_raw
"""

from datetime import datetime
from importlib.util import find_spec
from itertools import chain
import os
from pathlib import Path
import sys
import tempfile

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument, EmitEvent, ExecuteProcess, LogInfo, OpaqueFunction,
    SetEnvironmentVariable, TimerAction)
from launch.events import matches_action
from launch.events.process import ShutdownProcess
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from mtl_perception.errors import ConfigError
from mtl_perception.output_names import output_names
from mtl_perception.ros.recording import (
    check_space, prediction_types, recording_name, ros2_bag_command, START_BYTES, STOP_BYTES)
import yaml

CONFIG = Path(get_package_share_directory('mtl_perception')) / 'config'
TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
LARGE_DATA = 'LARGE_DATA?max_msg_size=4MB&sockets_size=4MB&non_blocking=true'
SPACE_PERIOD_S = 5.0
ON_OFF = ['true', 'false']

ARGUMENTS = [
    DeclareLaunchArgument('params_file', default_value=str(CONFIG / 'perception.yaml'),
                          description='parameters of the node'),
    DeclareLaunchArgument('checkpoint', default_value='',
                          description='weights: a name or a path; empty: as in params_file'),
    DeclareLaunchArgument('device', default_value='',
                          description='auto, cpu, cuda or cuda:N; empty: as in params_file'),
    DeclareLaunchArgument('image', default_value='image',
                          description='topic of the camera, such as /camera/image_raw'),
    DeclareLaunchArgument('namespace', default_value='', description='of the node'),
    DeclareLaunchArgument('image_transport', default_value='',
                          description='raw or compressed; empty: as in params_file'),
    DeclareLaunchArgument('rviz', default_value='false', choices=ON_OFF,
                          description='show camera, overlay and mask in rviz2'),
    DeclareLaunchArgument('record', default_value='false', choices=ON_OFF,
                          description='record the predictions into a rosbag2 (mcap)'),
    DeclareLaunchArgument('record_image', default_value='false', choices=ON_OFF,
                          description='record the predictions and the image'),
    DeclareLaunchArgument('record_dir', default_value='.',
                          description='folder for recordings, each named after node and time'),
    DeclareLaunchArgument('log_level', default_value='info',
                          choices=['debug', 'info', 'warn', 'error', 'fatal'],
                          description='of the node'),
    DeclareLaunchArgument('large_data', default_value='true', choices=ON_OFF,
                          description='use transports of Fast DDS that carry whole images, unless '
                                      f'{TRANSPORTS} is set already; nodes on other machines '
                                      'need the same setting'),
    DeclareLaunchArgument('respawn', default_value='false', choices=ON_OFF,
                          description='start the node again 2 s after it ends'),
]


def full_name(name, namespace):
    """Return an absolute name."""
    parts = [*namespace.split('/'), name]
    return name if name.startswith('/') else '/'.join(['', *filter(None, parts)])


def cameras(value):
    """Return the image topic of each camera by the name that its predictions are under."""
    given = {}
    for section in (yaml.safe_load(Path(value['params_file']).read_text()) or {}).values():
        given.update((section or {}).get('ros__parameters') or {})
    names = given.get('images', ['image'])
    places = output_names([full_name(name, value['namespace']) for name in names], 'perception',
                          full_name('', value['namespace']).rstrip('/'))
    transport = value['image_transport'] or given.get('image_transport', 'raw')
    ending = '/compressed' if transport == 'compressed' else ''
    topics = [full_name(value['image'] if name == 'image' else name, value['namespace']) + ending
              for name in names]
    return dict(zip(places.values(), topics))


def rviz_config(value):
    """Return the text of perception.rviz with the topics of this node and its first camera."""
    place, image = next(iter(cameras(value).items()))
    text = (CONFIG / 'perception.rviz').read_text()
    text = text.replace('Value: /perception/', f'Value: {place}/')
    # rviz takes the transport from the topic's name, so that a remapping would not do.
    return text.replace('Value: /image\n', f'Value: {image}\n')


def start_rviz(value):
    """Return the action that shows what the node and its camera publish."""
    with tempfile.NamedTemporaryFile('w', prefix='perception_', suffix='.rviz',
                                     delete=False) as file:
        file.write(rviz_config(value))
    return Node(package='rviz2', executable='rviz2', name='rviz2',
                namespace=value['namespace'], arguments=['-d', file.name])


def has_ros2_bag():
    """Tell whether ROS's own recorder with its mcap storage is installed."""
    try:
        return all(map(get_package_prefix, ('ros2bag', 'rosbag2_storage_mcap')))
    except LookupError:
        return False


def record_command(places, images, path):
    """Return the command that records: ROS's own, or where that is missing the package's."""
    if has_ros2_bag():
        return ros2_bag_command(
            [*chain.from_iterable(map(prediction_types, places)), *images], path)
    if find_spec('rosbags') is None:
        raise ConfigError(
            'expected a recorder, got none; sudo apt install ros-$ROS_DISTRO-ros2bag '
            'ros-$ROS_DISTRO-rosbag2-storage-mcap, or pip install rosbags')
    return [sys.executable, '-m', 'mtl_perception.ros.recorder', '--node', *places,
            '--image', *images, '--out', str(path)]


def start_recording(value):
    """Return the actions that record, and that end it before the disk is full."""
    places = cameras(value)
    folder = Path(value['record_dir']).expanduser().absolute()
    path = folder / recording_name(full_name('perception', value['namespace']), datetime.now())
    images = list(places.values()) if value['record_image'] == 'true' else []
    try:
        check_space(folder, START_BYTES)
        command = record_command(places, images, path)
    except ConfigError as error:
        return [LogInfo(msg=f'error: not recording: {error}')]
    recorder = ExecuteProcess(cmd=command, output='screen', sigterm_timeout='20')

    def watch(_):
        try:
            check_space(folder, STOP_BYTES)
        except ConfigError as error:
            return [LogInfo(msg=f'error: not recording any more: {error}'),
                    EmitEvent(event=ShutdownProcess(process_matcher=matches_action(recorder)))]
        return [TimerAction(period=SPACE_PERIOD_S, actions=[OpaqueFunction(function=watch)])]

    return [LogInfo(msg=f'recording into {path}'), recorder, *watch(None)]


def start(context):
    """Return the actions that the arguments ask for."""
    value = {argument.name: LaunchConfiguration(argument.name).perform(context)
             for argument in ARGUMENTS}
    overrides = {name: ParameterValue(value[name], value_type=str)
                 for name in ('checkpoint', 'device', 'image_transport') if value[name]}
    actions = []
    if value['large_data'] == 'true' and TRANSPORTS not in os.environ:
        actions.append(SetEnvironmentVariable(TRANSPORTS, LARGE_DATA))
    actions.append(Node(
        package='mtl_perception', executable='perception_node', name='perception',
        namespace=value['namespace'], output='screen',
        parameters=[value['params_file'], overrides], remappings=[('image', value['image'])],
        ros_arguments=['--log-level', value['log_level']],
        respawn=value['respawn'] == 'true', respawn_delay=2.0))
    if value['rviz'] == 'true':
        actions.append(start_rviz(value))
    if 'true' in (value['record'], value['record_image']):
        actions += start_recording(value)
    return actions


def generate_launch_description():
    """Return what ``ros2 launch`` runs."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
