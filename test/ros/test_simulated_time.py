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
"""The node on simulated time: ages are those of the simulation's clock."""

from node_client import image_message, perception
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

NODE = 'simulated'
PICTURE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture(scope='module')
def camera(client, checkpoint_name):
    """Return a camera that a node on simulated time listens to."""
    with perception(f'checkpoint:={checkpoint_name}', 'use_sim_time:=true', 'max_age_ms:=500',
                    node=NODE) as process:
        process.wait_for_output('listening')
        client.listen(NODE)
        publisher = client.camera()
        client.warm_up(publisher)
        yield publisher
        assert process.end()[0] == 0, process.output


@pytest.fixture(scope='module')
def set_clock(client):
    """Return a function that sets the simulation's clock, in seconds."""
    publisher = client.publisher(Clock, '/clock', QoSProfile(depth=10))

    def publish(seconds):
        for _ in range(3):
            message = Clock()
            message.clock.sec = seconds
            publisher.publish(message)
            client.spin(0.1)
    return publish


def stale(client):
    """Return how many frames were too old."""
    return int(client.diagnostics(NODE)[2]['stale'])


def shoot(client, camera, seconds):
    """Publish a frame of that simulated time and return its stamp."""
    message = image_message(PICTURE, client.now())
    message.header.stamp.sec, message.header.stamp.nanosec = seconds, 7
    camera.publish(message)
    return message.header.stamp


def test_ages_are_those_of_the_simulation(client, camera, set_clock):
    """Frames of the simulated now are answered, old ones dropped, also after a step back."""
    for now in (1000, 2000, 100):  # a bag that starts anew goes back in time
        set_clock(now)
        before = stale(client)
        stamp = shoot(client, camera, now - 1)
        client.wait_until(lambda: stale(client) == before + 1)
        assert not client.has_answers(stamp)
        stamp = shoot(client, camera, now)
        client.wait_until(lambda: client.has_answers(stamp))


def test_diagnostics_go_on_while_the_simulation_stands_still(client, camera, set_clock):
    """The node's own pulse is not the simulation's."""
    set_clock(3000)
    assert client.diagnostics(NODE)[2]['state'] == 'active'
    assert client.diagnostics(NODE)[2]['state'] == 'active'


def test_a_bag_that_starts_anew_costs_no_frame(client, camera, set_clock):
    """Frames of each turn are answered, whatever the clock was when the last one ended."""
    before = stale(client)
    for _ in range(2):
        client.received.clear()
        for now in (500, 600, 700):
            set_clock(now)
            stamp = shoot(client, camera, now)
            client.wait_until(lambda: client.has_answers(stamp))
    assert stale(client) == before


def test_a_frame_without_stamp_is_answered_in_a_simulation(client, camera, set_clock):
    """Its age is unknown, which is said."""
    set_clock(800)
    message = image_message(PICTURE, client.now())
    message.header.stamp.sec = message.header.stamp.nanosec = 0
    camera.publish(message)
    client.wait_until(lambda: client.has_answers(message.header.stamp))
    assert 'no time stamp' in client.diagnostics(NODE)[1]
