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
"""What all tests share."""

from importlib.util import find_spec
import signal

import pytest

# A script's background jobs begin with Ctrl-C ignored, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

HAS_ROS = find_spec('rclpy') is not None and find_spec('vision_msgs') is not None
collect_ignore = [] if HAS_ROS else ['ros']


def pytest_report_header():
    """Say aloud when the tests of the node are left out."""
    return [] if HAS_ROS else ['test/ros is left out: no rclpy or no vision_msgs here']


def pytest_addoption(parser):
    """Let the tests of the node run on other weights than the shipped ones."""
    parser.addoption('--checkpoint', default='household',
                     help='weights of the node under test: a name in weights/, or a path')


@pytest.fixture
def one_thread():
    """Keep torch's sums in one order, so that trainings can be compared bit by bit."""
    torch = pytest.importorskip('torch')
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def checkpoint_name(request) -> str:
    """Return the name or path of the weights under test."""
    return request.config.getoption('--checkpoint')
