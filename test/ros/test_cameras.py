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
"""Several cameras and one model; several nodes beside one another."""

from diagnostic_msgs.msg import DiagnosticStatus
from node_client import image_message, NodeProcess, perception
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from vision_msgs.msg import Detection2DArray

NODE = 'perception'
ENDS = ('processed', 'replaced', 'stale', 'invalid', 'pending')
CAMERAS = {'cam0': (48, 64), 'cam1': (96, 128)}


def picture(height, width):
    """Return a black picture."""
    return np.zeros((height, width, 3), np.uint8)


def balanced(values):
    """Tell whether all frames are accounted for."""
    return int(values['received']) == sum(int(values[name]) for name in ENDS)


@pytest.fixture(scope='module')
def node(client, checkpoint_name):
    """Return a node with two cameras."""
    with perception(f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000',
                    'images:=[cam0/image, cam1/image]') as process:
        process.wait_for_output('listening to /cam1/image')
        client.listen('cam0/perception')
        yield process
        assert process.end()[0] == 0, process.output


@pytest.fixture(scope='module')
def cameras(client, node):
    """Return both cameras, known to the node."""
    found = {name: client.camera(f'/{name}/image') for name in CAMERAS}
    for name, camera in found.items():
        client.listen(f'{name}/perception')
        client.warm_up(camera)
    yield found
    for camera in found.values():
        client.remove(camera)


@pytest.mark.parametrize('name', CAMERAS)
def test_each_camera_has_its_own_outputs(client, cameras, name):
    """The same outputs as one camera's, under the camera's name, of its pictures only."""
    client.listen(f'{name}/perception')
    client.listen_to_labels(f'{name}/perception')
    client.wait_until(lambda: client.received['detections/label_info'])
    client.warm_up(cameras[name])
    height, width = CAMERAS[name]
    for other, camera in cameras.items():
        if other != name:
            camera.publish(image_message(picture(*CAMERAS[other]), client.now(), other))
    stamp = client.ask(cameras[name], picture(height, width), frame_id=name)
    client.spin(0.3)
    for output in ('detections', 'segmentation', 'classification_scores'):
        assert client.answer(output, stamp).header.frame_id == name
        assert len(client.received[output]) == 1
    mask = client.answer('segmentation', stamp)
    assert (mask.height, mask.width) == (height, width)


def test_a_fast_camera_does_not_starve_a_slow_one(client, cameras):
    """Each picture of the slow one is answered while the fast one floods."""
    client.listen('cam1/perception')
    slow, fast = cameras['cam1'], cameras['cam0']
    client.warm_up(slow)
    stamps = []
    for _ in range(10):
        stamp = client.now()
        stamps.append(stamp)
        slow.publish(image_message(picture(96, 128), stamp))
        for _ in range(12):  # 60 Hz beside 5 Hz
            client.publish(fast, picture(48, 64))
            client.spin(1 / 60)
    client.wait_until(lambda: all(client.has_answers(stamp) for stamp in stamps))


def test_each_camera_has_its_own_account(client, cameras):
    """And the node's is the sum."""
    client.publish(cameras['cam0'], picture(48, 64))
    client.diagnostics(NODE)  # may have been made before the picture was answered
    parts = {}
    for part in ('pipeline', 'cam0/image', 'cam1/image'):
        _, _, values = client.diagnostics(NODE, part)
        assert balanced(values)
        parts[part] = values
    assert parts['cam0/image']['image_topic'] == '/cam0/image'
    assert parts['pipeline']['image_topic'] == '/cam0/image /cam1/image'
    assert 'decode_p50_ms' in parts['cam0/image'] and 'decode_p50_ms' in parts['pipeline']
    assert int(parts['pipeline']['processed']) == sum(
        int(parts[f'{name}/image']['processed']) for name in CAMERAS)


def test_the_silence_of_one_camera_is_reported_beside_the_other(client, cameras):
    """The one that works stays OK; the node is as bad as its worst camera."""
    def is_reported():
        client.publish(cameras['cam1'], picture(96, 128))
        level, text, _ = client.diagnostics(NODE)
        return level == DiagnosticStatus.ERROR and 'cam0/image: no image for' in text
    client.wait_until(is_reported, what='silence of cam0')
    client.publish(cameras['cam1'], picture(96, 128))
    assert client.diagnostics(NODE, 'cam1/image')[0] == DiagnosticStatus.OK
    assert client.diagnostics(NODE, 'cam0/image')[0] == DiagnosticStatus.ERROR


@pytest.mark.parametrize('images', ['[a, /a]', '[a, a]', '[no topic]', 'a', '[1, 2]', '[]'])
def test_images_that_cannot_be_are_one_line(images):
    """Two cameras on one topic, or what is no topic."""
    with NodeProcess('mtl_perception.ros.node', '--ros-args', '-p',
                     f'images:={images}') as process:
        assert process.wait() == 1
        lines = [line for line in process.output.splitlines() if line.startswith('error: ')]
        assert len(lines) == 1 and 'images: expected' in lines[0], process.output
        assert 'Traceback' not in process.output


def test_two_nodes_in_two_namespaces(client, checkpoint_name):
    """Each answers its own camera only, and has its own diagnostics."""
    sides = ('left', 'right')
    arguments = (f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000')
    with perception(*arguments, remap=['__ns:=/left']) as left, \
            perception(*arguments, remap=['__ns:=/right']) as right:
        for process, side in ((left, 'left'), (right, 'right')):
            process.wait_for_output(f'listening to /{side}/image')
        cameras = {side: client.camera(f'/{side}/image') for side in sides}
        for side, other in (sides, sides[::-1]):
            client.listen(f'{side}/perception')
            client.subscribe('other', Detection2DArray, f'/{other}/perception/detections',
                             QoSProfile(depth=10))
            client.warm_up(cameras[side])
            stamp = client.ask(cameras[side], picture(48, 64), frame_id=side)
            client.spin(0.2)
            assert client.answer('detections', stamp).header.frame_id == side
            assert not client.received['other']
            assert balanced(client.diagnostics(f'{side}/perception')[2])
        for camera in cameras.values():
            client.remove(camera)
    client.stop_listening()
