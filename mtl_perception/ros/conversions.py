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
"""Predictions as the messages of this machine's ROS installation."""

import array
from functools import cached_property
from importlib import import_module

from mtl_perception.card import Card
from mtl_perception.messages import message_namespace, MessageBuilder
from mtl_perception.prediction import Detections
import numpy as np
from rclpy.serialization import deserialize_message


def _message_class(full_name: str) -> type:
    package, _, name = full_name.split('/')
    return getattr(import_module(f'{package}.msg'), name)


def image_data(picture: np.ndarray) -> array.array:
    """Return a contiguous uint8 array as an Image's ``data``."""
    # Of bytes, the generated setter would check each one: over 100 times slower.
    data = array.array('B')
    data.frombytes(memoryview(picture).cast('B'))
    return data


class KeptMessageBuilder(MessageBuilder):
    """
    Gives a frame's boxes and scores as bytes, and its pictures in the messages of the last frame.

    For who publishes a message before the next is built: rclpy serialises it in ``publish``, which
    takes bytes as well. With 100 boxes as messages it is busy for two milliseconds, to make them
    takes more than one. A picture's memory costs more to get than to write.
    """

    @cached_property
    def _middleware_agrees(self) -> bool:
        """Whether it reads from our bytes what it would have written itself."""
        header = self.types.Header(frame_id='lens')
        boxes = Detections(np.float32([[1, 2, 4, 8], [3, 5, 7, 11]]), np.float32([0.5, 0.25]),
                           np.array([1, 1]))
        scores = np.float32([0.5, *[0.25] * (len(self.card.classes.classification) - 1)])
        pairs = ((super().detections(header, boxes), self.serialized_detections(header, boxes)),
                 (super().classification_scores(header, scores),
                  self.serialized_classification_scores(header, scores)))
        try:
            return all(expected == deserialize_message(ours, type(expected))
                       for expected, ours in pairs)
        except Exception:  # whatever it says to bytes that it does not understand
            return False

    @cached_property
    def _images(self) -> dict:
        return {}

    def detections(self, header, detections: Detections):
        """Return what ``publish`` takes as a ``Detection2DArray``."""
        if self._middleware_agrees:
            return self.serialized_detections(header, detections)
        return super().detections(header, detections)

    def classification_scores(self, header, probabilities: np.ndarray):
        """Return what ``publish`` takes as a ``Classification``."""
        if self._middleware_agrees:
            return self.serialized_classification_scores(header, probabilities)
        return super().classification_scores(header, probabilities)

    def image(self, header, picture: np.ndarray, encoding: str):
        """Return an ``Image`` that holds until the next one of its encoding."""
        kept = self._images.get(encoding)
        if kept is None or (kept.height, kept.width) != picture.shape[:2]:
            kept = self._images[encoding] = super().image(header, picture, encoding)
        else:
            kept.header = header
            np.frombuffer(kept.data, np.uint8).reshape(picture.shape)[:] = picture
        return kept


def ros_message_builder(card: Card, class_id_format: str) -> MessageBuilder:
    """
    Return the builder of this installation's messages.

    :param class_id_format: ``name`` or ``index``
    """
    return MessageBuilder(TYPES, image_data, card, class_id_format)


def kept_message_builder(card: Card, class_id_format: str) -> KeptMessageBuilder:
    """Return the same for one publisher, which reuses its messages."""
    return KeptMessageBuilder(TYPES, image_data, card, class_id_format)


TYPES = message_namespace(_message_class)
