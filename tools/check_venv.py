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
"""Import what the node needs and publish one vision_msgs message, in the new environment."""

import importlib
import os

# No discovery, no shared memory, no device id in the home folder: a check leaves no trace.
os.environ.update(ROS_AUTOMATIC_DISCOVERY_RANGE='OFF', FASTDDS_BUILTIN_TRANSPORTS='UDPv4',
                  ORT_DISABLE_TELEMETRY='1')

for module in ('cv2', 'diagnostic_msgs.msg', 'lifecycle_msgs.msg', 'numpy', 'onnxruntime',
               'rcl_interfaces.msg', 'rich', 'rosbags.highlevel', 'sensor_msgs.msg',
               'std_msgs.msg', 'tqdm', 'yaml', 'mtl_perception'):
    importlib.import_module(module)

import rclpy  # noqa: E402, I100
from vision_msgs.msg import Detection2DArray  # noqa: E402, I100

rclpy.init()
node = rclpy.create_node('setup_check')
node.create_publisher(Detection2DArray, 'setup_check', 1).publish(Detection2DArray())
node.destroy_node()
rclpy.shutdown()
