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
"""Small bags of pictures for tests: written, read back, given to predict_bag."""

from collections import defaultdict

from colour_weights import CARD, picture
import cv2
from mtl_perception.bags import bag_message_builder, bag_types, new_bag
from mtl_perception.cli.predict_bag import main
from rosbags.highlevel import AnyReader

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
STRING = 'std_msgs/msg/String'
START_NS = 1_700_000_000_000_000_000
LAG_NS = 3_000_000  # from a picture's stamp to its recording
PERIOD_NS = 100_000_000


def header(index, frame_id):
    types = bag_types().types
    stamp = START_NS + index * PERIOD_NS
    return types['std_msgs/msg/Header'](
        stamp=types['builtin_interfaces/msg/Time'](stamp // 10**9, stamp % 10**9),
        frame_id=frame_id)


def raw_image(index, image, frame_id='optical'):
    return bag_message_builder(CARD).image(header(index, frame_id), image, 'bgr8')


def jpeg_image(index, image, frame_id='optical'):
    return bag_types().types[COMPRESSED](
        header=header(index, frame_id), format='jpeg', data=cv2.imencode('.jpg', image)[1].ravel())


def frames(count=3):
    return [picture(red=(16 * i, 16), blue=(64, 48)) for i in range(count)]


def write_bag(path, topics, opened=None, start=0):
    """
    Write messages ``{topic: (type, [messages])}``, one of each topic a period.

    :param opened: writer of rosbags to use instead of ours
    :param start: periods before the first
    """
    with opened or new_bag(path) as writer:
        connections = {topic: writer.add_connection(topic, kind, typestore=bag_types())
                       for topic, (kind, _) in topics.items()}
        for index in range(max(len(messages) for _, messages in topics.values())):
            for topic, (kind, messages) in topics.items():
                if index < len(messages):
                    recorded_ns = START_NS + (start + index) * PERIOD_NS + LAG_NS
                    writer.write(connections[topic], recorded_ns,
                                 bag_types().serialize_cdr(messages[index], kind))
    return path


def read_bag(path):
    """Return ``{topic: [(recorded_ns, message, bytes)]}``; types are those in the file."""
    found = defaultdict(list)
    with AnyReader([path]) as reader:
        for connection, recorded_ns, data in reader.messages():
            found[connection.topic].append(
                (recorded_ns, reader.deserialize(data, connection.msgtype), bytes(data)))
    return found


def run(weights, *arguments):
    return main([*map(str, arguments), '--checkpoint', str(weights.folder)])


def drive(path, count=40, opened=None, start=0):
    """Write a bag of a camera and of words."""
    text = bag_types().types[STRING]
    return write_bag(path, {
        '/camera/image_raw': (IMAGE, [
            raw_image(i, picture(red=(i % 100, 16), blue=(64, 48))) for i in
            range(start, start + count)]),
        '/talk': (STRING, [text(data=f'word {i}') for i in range(start, start + count)])},
        opened, start)


def contents(path):
    """Return what was recorded and when, by topic."""
    return {topic: [(recorded_ns, data) for recorded_ns, _, data in messages]
            for topic, messages in read_bag(path).items()}
