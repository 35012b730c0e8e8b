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
"""A camera that puts a load on the node: ready-made pictures, published at an exact rate."""

from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
import time
from typing import List

import cv2
from mtl_perception.data.sources import open_frames
from mtl_perception.data.tour import household_tour
from mtl_perception.frame import Frame
from mtl_perception.ros.camera import DEPTH
from mtl_perception.ros.conversions import image_data, TYPES
from mtl_perception.ros.process import RCLError
import rclpy
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

TOPIC = 'camera/image_raw'
FRAME_ID = 'camera_optical_frame'
PICTURES = 24
EVERY = 10


def load_frames(width: int, height: int) -> List[Frame]:
    """
    Return pictures from all over the household tour, scaled to a size.

    :raises SourceError: if the tour is not there
    """
    frames = islice(open_frames(household_tour()), 0, PICTURES * EVERY, EVERY)
    return [Frame(cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_LINEAR))
            for frame in frames]


def _message(frame: Frame):
    return TYPES.Image(
        header=TYPES.Header(frame_id=FRAME_ID), height=frame.height, width=frame.width,
        encoding='bgr8', step=3 * frame.width, data=image_data(frame.image))


def serve_camera(orders: Connection, namespace: str, width: int, height: int) -> None:
    """
    Play until the orders end.

    An order is (rate in Hz, seconds), its reply the stamps in nanoseconds of the pictures that
    were published; any order that comes meanwhile ends the play early.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('camera', namespace=namespace)
    # Reliable, as the camera node is if nothing else is asked of it.
    publisher = node.create_publisher(TYPES.Image, TOPIC, QoSProfile(depth=DEPTH))
    messages = [_message(frame) for frame in load_frames(width, height)]
    try:
        while True:
            rate_hz, seconds = orders.recv()
            orders.send(_play(orders, node, publisher, messages, rate_hz, seconds))
    finally:
        node.destroy_node()
        rclpy.shutdown()


def _play(orders: Connection, node, publisher, messages: list, rate_hz: float,
          seconds: float) -> List[int]:
    stamps: List[int] = []
    start = time.monotonic()
    for index in range(round(rate_hz * seconds)):
        time.sleep(max(0.0, start + index / rate_hz - time.monotonic()))
        if orders.poll():
            orders.recv()
            break
        if time.monotonic() > start + seconds:
            break  # too slow for the rate: what is left counts as not sent
        message = messages[index % len(messages)]
        now = node.get_clock().now()
        message.header.stamp = now.to_msg()
        with suppress(RCLError):  # the middleware could not take it in time: not sent
            publisher.publish(message)
            stamps.append(now.nanoseconds)
    return stamps
