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
"""What the node's process opens to the network: what ROS opens for any node, and nothing else."""

from collections import Counter
import subprocess
import sys

from node_client import perception, Process
import psutil
import pytest

EMPTY = ('import rclpy; rclpy.init(); node = rclpy.create_node("empty"); '
         'print("listening", flush=True); rclpy.spin(node)')
UNSHARE = ['unshare', '--map-root-user', '--net']


def sockets(process):
    """Return how many sockets of each kind a process has, and to whom they are connected."""
    everything = psutil.Process(process.pid).net_connections('all')
    kinds = Counter((item.family.name, item.type.name, item.status) for item in everything)
    return kinds, {item.raddr for item in everything if item.raddr}


@pytest.mark.parametrize('transports', ['', 'LARGE_DATA'])
def test_the_node_opens_what_any_ros_node_opens(ros_log_dir, checkpoint_name, transports):
    """No server of ours, no connection to anybody, beside the sockets of DDS."""
    environment = {'FASTDDS_BUILTIN_TRANSPORTS': transports} if transports else {}
    with Process([sys.executable, '-c', EMPTY], **environment) as empty, \
            perception(f'checkpoint:={checkpoint_name}', **environment) as node:
        empty.wait_for_output('listening')
        node.wait_for_output('listening')
        kinds, peers = sockets(node)
        expected, _ = sockets(empty)
    assert kinds == expected and kinds['AF_INET', 'SOCK_DGRAM', 'NONE'] >= 3
    assert transports or not peers


def may_unshare():
    """Tell whether a process without a network can be had."""
    try:
        return subprocess.run([*UNSHARE, 'true'], capture_output=True).returncode == 0
    except OSError:
        return False


def test_the_node_starts_without_a_network(ros_log_dir, checkpoint_name):
    """It runs on what is on the disk: there is nobody whom it could ask for more."""
    if not may_unshare():
        pytest.skip('no network namespaces for this user')
    command = [*UNSHARE, sys.executable, '-m', 'mtl_perception.ros.node', '--ros-args', '-p',
               f'checkpoint:={checkpoint_name}']
    with Process(command) as process:
        process.wait_for_output('listening to /image')
        assert 'rror' not in process.output
