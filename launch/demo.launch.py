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
Start the node ``perception`` and a camera that plays a tour of a few rendered rooms.

ros2 launch mtl_perception demo.launch.py rviz:=true
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory('mtl_perception'))


def start_camera(context):
    """Return the camera, which sends what the node listens to."""
    value = {name: LaunchConfiguration(name).perform(context)
             for name in ('source', 'image', 'namespace', 'image_transport')}
    return [Node(
        package='mtl_perception', executable='camera_node', name='camera',
        namespace=value['namespace'], output='screen',
        parameters=[{'source': ParameterValue(value['source'], value_type=str),
                     'rate': ParameterValue(LaunchConfiguration('rate'), value_type=float),
                     'image_transport': value['image_transport'] or 'raw'}],
        remappings=[('image', value['image'])])]


def generate_launch_description():
    """Return what ``ros2 launch`` runs; all arguments of perception.launch.py hold here too."""
    return LaunchDescription([
        DeclareLaunchArgument('source', default_value=str(SHARE / 'demo' / 'household_tour.mp4'),
                              description='pictures, video, bag or /dev/videoN to play'),
        DeclareLaunchArgument('rate', default_value='10.0', description='frames a second'),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(
            str(SHARE / 'launch' / 'perception.launch.py'))),
        OpaqueFunction(function=start_camera)])
