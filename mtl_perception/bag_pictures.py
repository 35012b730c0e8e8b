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
"""Pictures of what a bag says about its camera."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

from mtl_perception.bags import open_bag, read_messages
from mtl_perception.card import Card
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
from mtl_perception.messages import read_prediction
from mtl_perception.overlay import draw_overlay
import numpy as np

PARTS = ('detections', 'segmentation', 'classification_scores')


@dataclass
class Answer:
    """
    A picture of a bag and the node's messages with the same stamp.

    :param picture: Image or CompressedImage
    :param parts: messages by output
    :param recorded_ns: when the last of them was recorded
    """

    picture: Any
    parts: Dict[str, Any]
    recorded_ns: int


def read_answers(path: Path, camera: str, node: str) -> List[Answer]:
    """
    Return all pictures of a camera that have all messages, by time.

    :param path: of the bag
    :param camera: image topic
    :param node: name of the perception node, such as ``/perception``
    :raises SourceError: if it is no bag or is damaged
    """
    answers: Dict[tuple, Answer] = {}
    outputs = {f'{node}/{part}': part for part in PARTS}
    with open_bag(path) as reader:
        wanted = [c for c in reader.connections if c.topic in (camera, *outputs)]
        for connection, recorded_ns, data in read_messages(reader, wanted):
            message = reader.deserialize(data, connection.msgtype)
            stamp = message.header.stamp
            answer = answers.setdefault((stamp.sec, stamp.nanosec), Answer(None, {}, 0))
            if connection.topic == camera:
                answer.picture = message
            else:
                answer.parts[outputs[connection.topic]] = message
                answer.recorded_ns = recorded_ns
    return [answer for _, answer in sorted(answers.items())
            if answer.picture is not None and len(answer.parts) == len(PARTS)]


def draw_answer(answer: Answer, card: Card) -> np.ndarray:
    """Return the picture with what the node said and how long that took, uint8 BGR."""
    stamp = answer.picture.header.stamp
    latency_ms = (answer.recorded_ns - stamp.sec * 10**9 - stamp.nanosec) / 1e6
    return draw_overlay(Frame(decode(answer.picture)), read_prediction(card, **answer.parts),
                        card, latency_ms)
