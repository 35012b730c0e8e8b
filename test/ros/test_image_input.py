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
"""Where the node listens and with what quality of service."""

from pathlib import Path

from mtl_perception.ros.image_input import choose_reliability, image_topic, LARGE_DATA
from mtl_perception.ros.silence import Offer, TYPE_NAMES
import pytest
from rclpy.node import Node

RELIABLE = Offer(TYPE_NAMES['raw'], 'reliable')
BEST_EFFORT = Offer(TYPE_NAMES['raw'], 'best_effort')


@pytest.mark.parametrize('wish, current, offers, expected', [
    ('auto', 'best_effort', [], 'best_effort'),
    ('auto', 'reliable', [], 'reliable'),
    ('auto', 'best_effort', [RELIABLE], 'reliable'),
    ('auto', 'reliable', [BEST_EFFORT], 'best_effort'),
    ('auto', 'reliable', [RELIABLE, BEST_EFFORT], 'best_effort'),
    ('auto', 'best_effort', [RELIABLE, RELIABLE], 'reliable'),
    ('reliable', 'reliable', [BEST_EFFORT], 'reliable'),
    ('best_effort', 'best_effort', [RELIABLE], 'best_effort')])
def test_reliability_follows_the_publishers(wish, current, offers, expected):
    """Reliable only where nobody is left out."""
    assert choose_reliability(wish, current, offers) == expected


@pytest.mark.parametrize('rules, transport, expected', [
    ([], 'raw', '/image'),
    ([], 'compressed', '/image/compressed'),
    (['image:=/front/image_raw'], 'raw', '/front/image_raw'),
    (['image:=/front/image_raw'], 'compressed', '/front/image_raw/compressed'),
    (['image:=/front/image_raw', 'image/compressed:=/jpeg'], 'compressed', '/jpeg'),
    (['image/compressed:=jpeg'], 'compressed', '/jpeg'),
    (['__ns:=/robot'], 'raw', '/robot/image'),
    (['__ns:=/robot', 'image:=front/image_raw'], 'compressed',
     '/robot/front/image_raw/compressed')])
def test_the_topic_follows_remappings(client, rules, transport, expected):
    """``compressed`` stands beside the image, as image_transport has it."""
    arguments = ['--ros-args', *(part for rule in rules for part in ('-r', rule))]
    node = Node('listener', cli_args=arguments, use_global_arguments=False)
    try:
        assert image_topic(node, transport) == expected
    finally:
        node.destroy_node()


def test_the_launch_file_sets_the_transports_that_the_node_advises():
    launch_file = Path(__file__).resolve().parents[2] / 'launch' / 'perception.launch.py'
    assert f'LARGE_DATA = {LARGE_DATA!r}\n' in launch_file.read_text()
