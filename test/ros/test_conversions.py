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
"""Predictions as messages of this ROS installation, through its serializer and back."""

import time

from mtl_perception.card import Architecture, Card, ClassNames, ImageInput
from mtl_perception.messages import read_prediction
from mtl_perception.prediction import Detections, Prediction
from mtl_perception.ros.conversions import (
    image_data, kept_message_builder, KeptMessageBuilder, ros_message_builder, TYPES)
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

CARD = Card('test', Architecture('report', (32,)), ImageInput(64, 64),
            ClassNames(('cup', 'plate'), ('background', 'cup', 'plate'), ('day', 'night', 'dusk')))


@pytest.mark.parametrize('class_id_format', ['name', 'index'])
def test_a_prediction_survives_the_wire(class_id_format):
    """Boxes, mask and scores are what they were; the header is the input's."""
    builder = ros_message_builder(CARD, class_id_format)
    header = TYPES.Header(frame_id='lens')
    header.stamp.sec, header.stamp.nanosec = 12, 34
    detections = Detections(
        np.array([[1.5, 2.0, 11.0, 20.25], [0.0, 0.0, 3.0, 4.0]], np.float32),
        np.array([0.75, 0.5], np.float32), np.array([2, 1]))
    mask = np.random.default_rng(0).integers(0, 3, (5, 7), np.uint8)
    probabilities = np.array([0.25, 0.625, 0.125], np.float32)
    messages = [builder.detections(header, detections), builder.segmentation(header, mask),
                builder.classification_scores(header, probabilities)]
    messages = [deserialize_message(serialize_message(m), type(m)) for m in messages]
    assert all(message.header == header for message in messages)
    result = read_prediction(CARD, *messages)
    assert (result.detections.boxes == detections.boxes).all()
    assert (result.detections.scores == detections.scores).all()
    assert (result.detections.class_ids == detections.class_ids).all()
    assert (result.mask == mask).all()
    assert (result.class_probabilities == probabilities).all()
    wanted = {'name': ['plate', 'cup'], 'index': ['2', '1']}[class_id_format]
    assert [item.results[0].hypothesis.class_id for item in messages[0].detections] == wanted


def test_no_boxes_are_an_empty_array():
    """Nothing seen is a message too."""
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32),
                       np.zeros(0, np.int64))
    message = ros_message_builder(CARD, 'name').detections(TYPES.Header(), empty)
    assert len(message.detections) == 0


def test_a_large_picture_is_not_checked_byte_by_byte():
    """The generated setter takes an array as it is; of bytes it would look at each one."""
    picture = np.zeros((1080, 1920, 3), np.uint8)
    start = time.perf_counter()
    message = TYPES.Image(data=image_data(picture))
    assert time.perf_counter() - start < 0.2
    assert len(message.data) == picture.size


@pytest.mark.parametrize('class_id_format', ['name', 'index'])
def test_used_messages_say_what_new_ones_would(class_id_format):
    """Whatever was in them before: more boxes, fewer, another size of the mask."""
    random, kept = np.random.default_rng(0), kept_message_builder(CARD, class_id_format)
    for count, size in ((3, (5, 7)), (0, (5, 7)), (5, (5, 7)), (2, (9, 4)), (4, (5, 7))):
        boxes = random.uniform(0, 50, (count, 4)).astype(np.float32)
        prediction = Prediction(
            Detections(boxes, random.random(count, np.float32), random.integers(1, 3, count)),
            random.integers(0, 3, size, np.uint8), random.random(3, np.float32))
        header = TYPES.Header(frame_id=f'lens{count}')
        header.stamp.sec = count
        new = ros_message_builder(CARD, class_id_format).answers(header, prediction)
        for (name, found), (_, expected) in zip(kept.answers(header, prediction), new):
            assert isinstance(found, bytes) == (name in ('detections', 'classification_scores'))
            if isinstance(found, bytes):
                found = deserialize_message(found, type(expected))
            assert found == expected, name


def test_a_middleware_with_bytes_of_its_own_is_given_messages(monkeypatch):
    """Whatever it makes of ours: an error, or another message."""
    empty = Prediction(Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32),
                                  np.zeros(0, np.int64)), None, None)
    for wrong in (b'', b'\0\1\0\0' + bytes(20)):
        monkeypatch.setattr(KeptMessageBuilder, 'serialized_detections',
                            lambda self, header, detections: wrong)
        ((_, found),) = kept_message_builder(CARD, 'name').answers(TYPES.Header(), empty)
        assert found == TYPES.Detection2DArray()


def test_a_hundred_boxes_are_written_much_faster_than_made():
    found = Detections(np.full((100, 4), 5, np.float32), np.full(100, 0.5, np.float32),
                       np.ones(100, np.int64))

    def fastest_s(builder):
        times = []
        for _ in range(20):
            start = time.perf_counter()
            message = builder.detections(TYPES.Header(), found)
            if not isinstance(message, bytes):
                serialize_message(message)
            times.append(time.perf_counter() - start)
        return min(times)
    assert fastest_s(kept_message_builder(CARD, 'name')) < 0.1 * fastest_s(
        ros_message_builder(CARD, 'name'))


def test_pictures_of_two_encodings_do_not_share_memory():
    """The mask in colour and the overlay are of one size and published together."""
    builder = kept_message_builder(CARD, 'name')
    color = builder.image(TYPES.Header(), np.full((4, 6, 3), 1, np.uint8), 'rgb8')
    overlay = builder.image(TYPES.Header(), np.full((4, 6, 3), 2, np.uint8), 'bgr8')
    assert set(color.data) == {1} and set(overlay.data) == {2}
