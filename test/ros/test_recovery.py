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
"""What dies comes back, and the node goes on: cameras, listeners, the node itself."""

import signal

from node_client import image_message, perception
import numpy as np
import pytest

NODE = 'survivor'


@pytest.fixture(scope='module')
def node(client, checkpoint_name):
    """Return a running node."""
    with perception(f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000',
                    'image_timeout_s:=0.5', node=NODE) as process:
        process.wait_for_output('listening')
        client.listen(NODE)
        yield process
        assert process.end()[0] == 0, process.output


def test_a_camera_that_comes_back_may_be_another_one(client, node):
    """Other size, encoding and reliability, in mid-stream and after its death."""
    pictures = [('bgr8', np.zeros((48, 64, 3), np.uint8)), ('mono8', np.zeros((97, 31), np.uint8)),
                ('rgba8', np.zeros((240, 320, 4), np.uint8))]
    for reliability in ('reliable', 'best_effort', 'reliable'):
        camera = client.camera(reliability=reliability)
        client.wait_until(lambda: client.diagnostics(NODE)[2]['reliability'] == reliability)
        client.warm_up(camera)
        for encoding, picture in pictures:
            stamp = client.ask(camera, picture, encoding=encoding)
            mask = client.answer('segmentation', stamp)
            assert (mask.height, mask.width) == picture.shape[:2]
        client.remove(camera)
        client.wait_until(lambda: 'no publisher on /image' in client.diagnostics(NODE)[1])
    assert client.diagnostics(NODE)[2]['invalid'] == '0'


def test_listeners_come_and_go(client, node):
    """Pictures for people are made while somebody looks; nobody else notices."""
    camera = client.camera()
    client.warm_up(camera)
    picture = np.zeros((48, 64, 3), np.uint8)
    for _ in range(3):
        client.listen(NODE, 'overlay')
        client.warm_up(camera)
        client.ask(camera, picture)
        client.wait_until(lambda: client.received['overlay'])
        client.stop_listening()
        for _ in range(3):
            camera.publish(image_message(picture, client.now()))
            client.spin(0.1)
    client.listen(NODE)
    client.warm_up(camera)
    client.ask(camera, picture)
    client.remove(camera)


def test_a_node_that_is_killed_starts_again(client, checkpoint_name):
    """The camera goes on, the new node takes over; nothing of the old one is in its way."""
    camera = None
    for _ in range(3):
        with perception(f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000',
                        remap=['image:=/kept/image'], node='mortal') as process:
            process.wait_for_output('listening')
            client.listen('mortal')
            camera = camera or client.camera('/kept/image')
            client.warm_up(camera)
            client.ask(camera, np.zeros((48, 64, 3), np.uint8))
            status, _ = process.end(signal.SIGKILL)
            assert status == -signal.SIGKILL
    client.remove(camera)
