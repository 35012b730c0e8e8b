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
One DDS domain for the tests of the node, and one client in it.

The domain is drawn for each run and limited to this machine, so that runs beside one another and
robots on the network stay apart.
"""

import os
import random

import pytest

# Domains up to 101 keep clear of the ports that Linux hands out.
os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
if os.environ.get('ROS_DISTRO') == 'humble':
    os.environ['ROS_LOCALHOST_ONLY'] = '1'  # its name for the same; later ones warn of it
# The transports that a user who sets nothing has.
os.environ.pop('FASTDDS_BUILTIN_TRANSPORTS', None)

from node_client import NodeClient  # noqa: E402, I100 after the environment is set
import rclpy  # noqa: E402, I100


@pytest.fixture(scope='session')
def ros_log_dir(tmp_path_factory):
    """Keep ROS's log files out of the home folder."""
    os.environ['ROS_LOG_DIR'] = str(tmp_path_factory.mktemp('ros_log'))


@pytest.fixture(scope='module')
def client(ros_log_dir):
    """Return a client in the tests' domain."""
    rclpy.init(args=[])
    with NodeClient() as node_client:
        yield node_client
    rclpy.try_shutdown()
