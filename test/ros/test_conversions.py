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
from mtl_perception.prediction import Detections
from mtl_perception.ros.conversions import image_data, ros_message_builder, TYPES
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
