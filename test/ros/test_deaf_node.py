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
"""What a camera that cannot be heard looks like, over real DDS: named in log and diagnostics."""

from pathlib import Path

import cv2
from diagnostic_msgs.msg import DiagnosticStatus
from mtl_perception.ros.silence import LARGE_DATA
from node_client import NodeProcess, perception, RELIABILITY
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

NODE = 'deaf'


@pytest.fixture
def said(client, checkpoint_name):
    """Return a function that starts a node and waits until its diagnostics say something."""
    def wait(*parts, parameters=()):
        with perception(f'checkpoint:={checkpoint_name}', 'image_timeout_s:=0.5', *parameters,
                        node=NODE) as process:
            process.wait_for_output('listening')
            client.stop_listening()
            client.listen_to_diagnostics()

            def is_said():
                level, text, _ = client.diagnostics(NODE)
                return level == DiagnosticStatus.ERROR and all(part in text for part in parts)
            client.wait_until(is_said, what=f'{parts} in diagnostics')
            for part in parts:
                process.wait_for_output(part)
            assert process.end()[0] == 0, process.output
            return process
    return wait


@pytest.fixture
def publisher(client):
    """Return a function that publishes on a topic for the length of a test."""
    made = []

    def publish(message_type, topic, reliability='reliable'):
        made.append(client.publisher(message_type, topic, QoSProfile(
            depth=5, reliability=RELIABILITY[reliability])))
    yield publish
    for item in made:
        client.remove(item)


def test_nobody_publishes(said, publisher):
    """The topic, its type, and the topics that may be meant, with what to type."""
    publisher(Image, '/camera/image_raw')
    said('no publisher on /image (sensor_msgs/msg/Image)', '-r image:=/camera/image_raw')


def test_only_the_compressed_image_is_there(said, publisher):
    """The mix-up of raw and compressed."""
    publisher(CompressedImage, '/image/compressed')
    said('/image/compressed is there', '-p image_transport:=compressed')


def test_only_the_raw_image_is_there(said, publisher):
    """And the other way round."""
    publisher(Image, '/image')
    said('/image is there', '-p image_transport:=raw',
         parameters=['image_transport:=compressed'])


def test_a_publisher_of_another_type(said, publisher):
    """Type and node of the publisher."""
    publisher(String, '/image')
    said('1 publisher on /image (reliable std_msgs/msg/String, volatile', 'of /test_client',
         'but sensor_msgs/msg/Image is expected')


def test_a_reliability_that_cannot_match(said, publisher):
    """A forced reliability is not followed but explained."""
    publisher(Image, '/image', 'best_effort')
    said('1 publisher on /image (best_effort', '-p reliability:=auto',
         parameters=['reliability:=reliable'])


def test_a_camera_that_stands_still(said, publisher):
    """A match without an image."""
    publisher(Image, '/image')
    said('1 publisher on /image (reliable', 'matched by a reliable subscription',
         'nothing arrives')


def test_a_mismatch_is_named_while_other_images_come(client, publisher, checkpoint_name):
    """A second camera that nobody hears is not hidden by the first."""
    with perception(f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000',
                    'reliability:=reliable', node=NODE) as process:
        process.wait_for_output('listening')
        client.listen(NODE)
        camera = client.camera()
        client.warm_up(camera)
        publisher(Image, '/image', 'best_effort')
        process.wait_for_output('-p reliability:=auto')
        client.ask(camera, np.zeros((48, 64, 3), np.uint8))
        level, text, _ = client.diagnostics(NODE)
        assert level == DiagnosticStatus.WARN and '1 publisher on /image (best_effort' in text
        client.remove(camera)


def test_frames_that_are_lost_in_transport_are_counted(client, checkpoint_name, tmp_path):
    """Large best-effort frames on Fast DDS's default transports: the reason and the cure."""
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    cv2.imwrite(str(Path(tmp_path) / 'one.png'), noise)
    with perception(f'checkpoint:={checkpoint_name}', 'image_timeout_s:=0.5',
                    node=NODE) as process:
        process.wait_for_output('listening')
        client.stop_listening()
        client.listen_to_diagnostics()
        with NodeProcess('mtl_perception.ros.camera', str(tmp_path), '--reliability',
                         'best_effort'):
            client.wait_until(lambda: int(client.diagnostics(NODE)[2]['lost_in_transport']) > 5,
                              what='lost frames')
            text = client.diagnostics(NODE)[1]
        assert 'lost in transport' in text
        if 'no image for' in text:  # a few may come through
            assert f"export FASTDDS_BUILTIN_TRANSPORTS='{LARGE_DATA}'" in text
