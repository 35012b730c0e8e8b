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
    Writes each frame's boxes and pictures into the messages of the frame before.

    For who publishes a message before the next is built: rclpy serialises it in ``publish``.
    Making 100 boxes takes over a millisecond, filling them a twentieth of that, and a picture's
    memory costs more to get than to write.
    """

    @cached_property
    def _items(self) -> list:
        return []

    @cached_property
    def _images(self) -> dict:
        return {}

    def detections(self, header, detections: Detections):
        """Return a ``Detection2DArray`` that holds until the next one."""
        self._items.extend(self.blank_detection(header)
                           for _ in range(len(detections) - len(self._items)))
        return self.fill_detections(header, self._items[:len(detections)], detections)

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
