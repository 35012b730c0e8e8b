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
"""Every encoding through a real node: answered in its own size, or counted and said."""

from camera_pictures import ANSWERED, REFUSED, sample
import cv2
from node_client import perception
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

NODE = 'any_camera'
HEIGHT, WIDTH = 48, 64
PATIENT = ('latency_budget_ms:=10000',)
# What the node takes to refuse a picture; the next one would take its place before.
PACE_S = 0.1


def start(client, checkpoint_name, *parameters):
    """Return a running node."""
    process = perception(f'checkpoint:={checkpoint_name}', *PATIENT, *parameters, node=NODE)
    process.wait_for_output('listening')
    client.listen(NODE)
    return process


def send(client, camera, message):
    """Publish a message; return its header."""
    message.header.frame_id = 'optical'
    message.header.stamp = client.now()
    camera.publish(message)
    return message.header


def answered(client, camera, message, height, width):
    """Publish a message and hold its answers to its header and size."""
    header = send(client, camera, message)
    client.wait_until(lambda: client.has_answers(header.stamp), what='an answer on every output')
    mask = client.answer('segmentation', header.stamp)
    assert (mask.height, mask.width, mask.encoding) == (height, width, 'mono8')
    for name in ('detections', 'segmentation', 'classification_scores'):
        assert client.answer(name, header.stamp).header == header


def counts(client):
    """Return how many frames were answered and refused, and the last reason."""
    _, text, values = client.diagnostics(NODE)
    return int(values['processed']), int(values['invalid']), text


def image(encoding):
    """Return an Image with some bytes behind each row."""
    return Image(**sample(encoding, HEIGHT, WIDTH).fields(6))


def test_every_encoding_of_sensor_msgs(client, checkpoint_name):
    """One camera that sends another encoding with each frame."""
    with start(client, checkpoint_name) as process:
        camera = client.camera()
        client.warm_up(camera)
        processed, invalid, _ = counts(client)
        for encoding in ANSWERED:
            answered(client, camera, image(encoding), HEIGHT, WIDTH)
        for encoding in REFUSED:
            message = image('8UC4')
            message.encoding = encoding
            send(client, camera, message)
            client.spin(PACE_S)
        answered(client, camera, image('bgr8'), HEIGHT, WIDTH)
        wanted = (processed + len(ANSWERED) + 1, invalid + len(REFUSED))
        client.wait_until(lambda: counts(client)[:2] == wanted)
        client.remove(camera)
        assert "got '8UC2'" in process.output and 'Traceback' not in process.output
        assert process.end()[0] == 0, process.output


def compressed(data, form='jpeg'):
    """Return a CompressedImage."""
    message = CompressedImage(format=form)
    message.data.frombytes(data)
    return message


def file(extension, picture):
    """Return a compressed picture."""
    return cv2.imencode(extension, picture)[1].tobytes()


def test_compressed_pictures_whole_and_broken(client, checkpoint_name):
    """JPEG and PNG of every kind; what is cut off, no picture, or claims to be huge."""
    colours = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    good = [file('.jpg', colours), file('.jpg', colours[:, :, 0]), file('.png', colours),
            file('.png', colours.astype(np.uint16) * 257), file('.png', colours[:, :, 0])]
    huge = good[2][:16] + b'\x00\x00\xff\xff' * 2 + good[2][24:]
    bad = [good[0][:400], good[2][:400], b'', b'no picture', huge, file('.bmp', colours)]
    with start(client, checkpoint_name, 'image_transport:=compressed') as process:
        camera = client.compressed_camera('/image/compressed')
        client.spin(1.0)
        header = send(client, camera, compressed(good[0]))
        client.wait_until(lambda: client.has_answers(header.stamp), what='a first answer')
        processed, invalid, _ = counts(client)
        for data in good:
            answered(client, camera, compressed(data), HEIGHT, WIDTH)
        for data in bad:
            send(client, camera, compressed(data))
            client.spin(PACE_S)
        answered(client, camera, compressed(good[0]), HEIGHT, WIDTH)
        wanted = (processed + len(good) + 1, invalid + len(bad))
        client.wait_until(lambda: counts(client)[:2] == wanted)
        client.remove(camera)
        assert 'Traceback' not in process.output
        assert process.end()[0] == 0, process.output


@pytest.mark.parametrize('height, width', [(1, 1), (2160, 3840)])
def test_the_smallest_and_the_largest_camera(client, checkpoint_name, height, width):
    """One pixel, and 4K."""
    with start(client, checkpoint_name) as process:
        camera = client.camera()
        client.warm_up(camera)
        answered(client, camera, Image(**sample('mono8', height, width).fields()), height, width)
        client.remove(camera)
        assert process.end()[0] == 0, process.output
