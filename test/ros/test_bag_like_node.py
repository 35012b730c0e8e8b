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
"""predict_bag says what the live node says about the same frames, bit for bit."""

from itertools import islice
import time

import cv2
from mtl_perception.bag_prediction import HEADS
from mtl_perception.bags import bag_types, IMAGE_TYPES, new_bag
from mtl_perception.cli.predict_bag import main
from mtl_perception.data.tour import household_tour
from mtl_perception.messages import OUTPUT_TYPES
from node_client import perception, STAMPED
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CompressedImage, Image

NODE = 'perception'
FRAMES = 8
SIZES = ((640, 480), (512, 512), (320, 200), (641, 479))
# A node that is started while the machine is busy may take its time with a frame.
PATIENT = ('latency_budget_ms:=60000', 'max_age_ms:=86400000')


def tour():
    """Yield frames of the household tour, far apart, in several sizes."""
    video = cv2.VideoCapture(str(household_tour()))
    index = 0
    while (read := video.read())[0]:
        if index % 15 == 0:
            yield cv2.resize(read[1], SIZES[index // 15 % len(SIZES)])
        index += 1


def picture(types, index, image, compressed):
    """Return a message of now; a node takes no old ones."""
    stamp = time.time_ns() + index
    header = types['std_msgs/msg/Header'](
        stamp=types['builtin_interfaces/msg/Time'](*divmod(stamp, 10**9)),
        frame_id=f'camera{index}')
    if compressed:
        return types[IMAGE_TYPES[1]](header=header, format='jpeg',
                                     data=cv2.imencode('.jpg', image)[1].ravel())
    height, width = image.shape[:2]
    encoding = ('bgr8', 'rgb8')[index % 2]
    image = image if encoding == 'bgr8' else image[..., ::-1]
    return types[IMAGE_TYPES[0]](header=header, height=height, width=width, encoding=encoding,
                                 is_bigendian=0, step=3 * width,
                                 data=np.ascontiguousarray(image).ravel())


def write_bag(path, compressed):
    msgtype = IMAGE_TYPES[compressed]
    with new_bag(path) as writer:
        camera = writer.add_connection('/image/compressed' if compressed else '/image', msgtype,
                                       typestore=bag_types())
        for index, image in enumerate(islice(tour(), FRAMES)):
            message = picture(bag_types().types, index, image, compressed)
            writer.write(camera, time.time_ns(), bag_types().serialize_cdr(message, msgtype))
    return path


def read_bag(path):
    """Return the bytes of all messages by topic."""
    found = {}
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            found.setdefault(connection.topic, []).append(bytes(data))
    return found


def without_gaps(data, msgtype):
    """Return a message with zeros for the bytes between fields, where Fast CDR leaves anything."""
    return bytes(bag_types().serialize_cdr(bag_types().deserialize_cdr(data, msgtype), msgtype))


@pytest.mark.parametrize('transport, class_ids, node_threads, bag_threads', [
    ('raw', 'name', 2, 1), ('compressed', 'index', 3, 3)])
def test_the_same_frames_give_the_same_bytes(client, tmp_path, transport, class_ids, node_threads,
                                             bag_threads):
    # ONNX Runtime computes a few box edges with another last bit when the shares of its threads
    # do not end with a vector of its processor: with 3 threads, not with 1, 2, 4 or 8.
    compressed = transport == 'compressed'
    source = write_bag(tmp_path / 'drive', compressed)
    arguments = ['--checkpoint', 'household', '--class-id-format', class_ids,
                 '--score-threshold', '0.1', '--threads', str(bag_threads)]
    assert main([str(source), str(tmp_path / 'seen'), '--workers', '2', *arguments]) in (0, 1)
    bag = read_bag(tmp_path / 'seen')
    pictures = bag['/image/compressed' if compressed else '/image']
    message_type = CompressedImage if compressed else Image
    with perception('checkpoint:=household', 'score_threshold:=0.1', *PATIENT,
                    f'num_threads:={node_threads}',
                    f'image_transport:={transport}', f'class_id_format:={class_ids}') as node:
        node.wait_for_output('listening')
        client.listen(NODE)
        client.listen_to_labels(NODE)
        camera = client.camera('/image/compressed' if compressed else '/image',
                               message_type=message_type)
        messages = [deserialize_message(data, message_type) for data in pictures]
        first = messages[0].header.stamp
        deadline = time.monotonic() + 30
        while not client.has_answers(first):  # both ends have to know each other
            assert time.monotonic() < deadline, node.output
            camera.publish(messages[0])
            client.wait_until(lambda: client.has_answers(first), 1.0, required=False)
        client.spin(1.0)
        for name in (*STAMPED, 'classification'):
            client.received[name].clear()
        live = {output: [] for output in OUTPUT_TYPES}
        for message in messages:
            camera.publish(message)
            stamp = message.header.stamp
            client.wait_until(lambda: client.has_answers(stamp), what='answers')
            client.wait_until(lambda: client.received['classification'], what='a class')
            for name in STAMPED:
                live[name].append(client.answer(name, stamp))
            live['classification'].append(client.received['classification'].pop())
        labels = {head: client.received[f'{head}/label_info'][-1] for head in HEADS}
        node.end()
    boxes = 0
    for output, answers in live.items():
        recorded = bag[f'/{NODE}/{output}']
        assert len(recorded) == len(answers) == FRAMES
        for index, (data, answer) in enumerate(zip(recorded, answers)):
            assert data == without_gaps(serialize_message(answer), OUTPUT_TYPES[output]), \
                f'{output} of frame {index}'
            boxes += len(answer.detections) if output == 'detections' else 0
    assert boxes > FRAMES, 'there is something to compare'
    for head, live_label in labels.items():
        data, = bag[f'/{NODE}/{head}/label_info']
        recorded = deserialize_message(data, type(live_label))
        assert recorded.class_map == live_label.class_map
        assert recorded.threshold == live_label.threshold
