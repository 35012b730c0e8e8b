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
One participant under SROS2: ``secured_client.py SECONDS [--ros-args --enclave NAME]``.

It publishes a picture ten times a second and prints how many of them came back as detections, and
the state that the node tells it.
"""

import sys
import time

from lifecycle_msgs.srv import GetState
from node_client import image_message
import numpy as np
import rclpy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

PERIOD_S = 0.1


def main() -> None:
    """Ask for some seconds."""
    seconds = float(remove_ros_args(sys.argv)[1])
    rclpy.init(args=sys.argv)
    node = rclpy.create_node('secured_client')
    answers = []
    node.create_subscription(Detection2DArray, '/perception/detections', answers.append, 10)
    camera = node.create_publisher(Image, '/image', 1)
    states = node.create_client(GetState, '/perception/get_state')
    blank = np.zeros((48, 64, 3), np.uint8)
    state = None
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        camera.publish(image_message(blank, node.get_clock().now().to_msg()))
        if state is None and states.service_is_ready():
            state = states.call_async(GetState.Request())
        rclpy.spin_once(node, timeout_sec=PERIOD_S)
    label = state.result().current_state.label if state and state.done() else 'unknown'
    print(f'answers: {min(len(answers), 1)}, state: {label}', flush=True)


if __name__ == '__main__':
    main()
