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

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable)
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(get_package_share_directory('mtl_perception')) / 'config'
TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
LARGE_DATA = 'LARGE_DATA?max_msg_size=4MB&sockets_size=4MB&non_blocking=true'
RECORDED = ('detections', 'segmentation', 'classification', 'classification_scores',
            'detections/label_info', 'segmentation/label_info', 'classification/label_info')
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
                          description='record the predictions into a rosbag2 (mcap) in this '
                                      'folder'),
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


def start(context):
    """Return the actions that the arguments ask for."""
    value = {argument.name: LaunchConfiguration(argument.name).perform(context)
             for argument in ARGUMENTS}
    node = '/'.join(['', *filter(None, value['namespace'].split('/')), 'perception'])
    overrides = {name: ParameterValue(value[name], value_type=str)
                 for name in ('checkpoint', 'device', 'image_transport') if value[name]}
    perception = Node(
        package='mtl_perception', executable='perception_node', name='perception',
        namespace=value['namespace'], output='screen',
        parameters=[value['params_file'], overrides], remappings=[('image', value['image'])],
        ros_arguments=['--log-level', value['log_level']],
        respawn=value['respawn'] == 'true', respawn_delay=2.0)
    rviz = Node(
        package='rviz2', executable='rviz2', name='rviz2', namespace=value['namespace'],
        arguments=['-d', str(CONFIG / 'perception.rviz')],
        remappings=[('/image', value['image']),
                    *((f'/perception/{name}', f'{node}/{name}')
                      for name in ('overlay', 'segmentation_color'))],
        condition=IfCondition(value['rviz']))
    record = ExecuteProcess(
        cmd=['ros2', 'bag', 'record', '--storage', 'mcap',
             *(f'{node}/{name}' for name in RECORDED), '/diagnostics'],
        output='screen', condition=IfCondition(value['record']))
    transports = []
    if value['large_data'] == 'true' and TRANSPORTS not in os.environ:
        transports = [SetEnvironmentVariable(TRANSPORTS, LARGE_DATA)]
    return [*transports, perception, rviz, record]


def generate_launch_description():
    """Return what ``ros2 launch`` runs."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
