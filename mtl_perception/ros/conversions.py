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
from importlib import import_module

from mtl_perception.card import Card
from mtl_perception.messages import message_namespace, MessageBuilder
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


def ros_message_builder(card: Card, class_id_format: str) -> MessageBuilder:
    """
    Return the builder of this installation's messages.

    :param class_id_format: ``name`` or ``index``
    """
    return MessageBuilder(TYPES, image_data, card, class_id_format)


TYPES = message_namespace(_message_class)
