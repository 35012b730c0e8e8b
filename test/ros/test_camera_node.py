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
"""The camera node plays what it is given, at its rate."""

import cv2
from mtl_perception.image_codec import decode
from node_client import NodeProcess
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

CAMERA = 'mtl_perception.ros.camera'


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three pictures of one grey each."""
    for index in range(3):
        cv2.imwrite(str(tmp_path / f'{index}.png'), np.full((24, 32, 3), 50 * index, np.uint8))
    return tmp_path


@pytest.mark.parametrize('transport, kinds', [
    ('raw', ['raw']), ('compressed', ['compressed']), ('both', ['raw', 'compressed'])])
def test_pictures_are_played_in_order_and_again(client, folder, transport, kinds):
    """Names decide the order, the end is the beginning, stamps go on."""
    client.received.clear()
    client.subscribe('raw', Image, '/front/image', QoSProfile(depth=50))
    client.subscribe('compressed', CompressedImage, '/front/image/compressed',
                     QoSProfile(depth=50))
    with NodeProcess(CAMERA, str(folder), '--rate', '30', '--image-transport', transport,
                     '--frame-id', 'lens', '--ros-args', '-r', 'image:=/front/image') as process:
        client.wait_until(lambda: all(len(client.received[kind]) >= 7 for kind in kinds))
        assert process.end()[0] == 0, process.output
    client.stop_listening()
    for kind in ('raw', 'compressed'):
        messages = client.received[kind]
        assert bool(messages) == (kind in kinds)
        greys = [round(float(decode(message).mean()) / 50) for message in messages]
        assert all(after == (before + 1) % 3 for before, after in zip(greys, greys[1:]))
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in messages]
        assert stamps == sorted(set(stamps))
        assert {m.header.frame_id for m in messages} <= {'lens'}


def test_without_loop_the_node_ends_with_its_source(folder):
    """A film has an end."""
    with NodeProcess(CAMERA, str(folder), '--rate', '50', '--no-loop') as process:
        assert process.wait() == 0, process.output


def test_parameters_do_what_options_do(client, folder):
    """A launch file gives parameters."""
    client.received.clear()
    client.subscribe('raw', Image, '/image', QoSProfile(depth=50))
    with NodeProcess(CAMERA, '--ros-args', '-p', f'source:={folder}', '-p', 'rate:=20') as process:
        client.wait_until(lambda: len(client.received['raw']) >= 4)
        assert process.end()[0] == 0, process.output
    client.stop_listening()
    with NodeProcess(CAMERA, str(folder), '--ros-args', '-p', 'loop:=false') as process:
        assert process.wait() == 0, process.output


@pytest.mark.parametrize('arguments, said', [
    ([], 'does not exist'), (['no_such_file.mp4'], 'no_such_file.mp4'),
    (['/dev/video63'], '/dev/video63'),
    (['.', '--ros-args', '-p', 'rate:=0'], 'rate')])
def test_a_source_that_cannot_be_played_is_one_line(arguments, said):
    """The node ends with status 2 and the reason."""
    with NodeProcess(CAMERA, *arguments) as process:
        assert process.wait() == 2
        lines = process.output.splitlines()
        assert len(lines) == 1 and lines[0].startswith('error: ') and said in lines[0]


def test_it_waits_for_its_listeners(client, folder):
    """No picture is lost to whoever is waited for, however late."""
    client.received.clear()
    with NodeProcess(CAMERA, str(folder), '--no-loop', '--wait-for', '1') as process:
        process.wait_for_output('playing')
        client.spin(1.0)
        assert process.is_alive
        client.subscribe('raw', Image, '/image', QoSProfile(depth=50))
        client.wait_until(lambda: len(client.received['raw']) == 3)
        assert process.wait() == 0, process.output
    client.stop_listening()
    assert [round(float(decode(message).mean()) / 50) for message in client.received['raw']] == [
        0, 1, 2]
