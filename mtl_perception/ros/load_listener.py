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
"""A subscriber that notes when the answers of each frame came, and what the node says itself."""

from dataclasses import dataclass
from multiprocessing.connection import Connection
import struct
from typing import Dict

from diagnostic_msgs.msg import DiagnosticArray
from mtl_perception.messages import OUTPUT_TYPES
from mtl_perception.ros.ages import nanoseconds
from mtl_perception.ros.conversions import TYPES
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription

NODE = 'perception'
DIAGNOSTICS = 'diagnostics'
MESSAGE_CLASSES = {output: getattr(TYPES, full_name.rpartition('/')[2])
                   for output, full_name in OUTPUT_TYPES.items()}
# The outputs that carry the frame's stamp.
STAMPED = {output: message_class for output, message_class in MESSAGE_CLASSES.items()
           if hasattr(message_class, 'header')}
DEPTH = 10
POLL_S = 0.02


@dataclass(frozen=True)
class Heard:
    """
    What came since the last time.

    :param answered_ns: by a frame's stamp, when the last of its answers came, both in nanoseconds
    :param values: of the node's latest diagnostics, empty before the first
    """

    answered_ns: Dict[int, int]
    values: Dict[str, str]


def _stamp_ns(message: bytes) -> int:
    """Return the stamp of a serialized message that begins with a header."""
    order = '<' if message[1] & 1 else '>'  # XCDR: the second byte of what precedes the message
    seconds, nanoseconds_of_it = struct.unpack_from(f'{order}iI', message, 4)
    return seconds * 10**9 + nanoseconds_of_it


class LoadListener:
    """
    Subscribes to the answers and the diagnostics.

    Answers are not turned into Python's objects, and came when the middleware got them: what a
    subscriber does then takes its own time, not the node's.

    :param namespace: of their topics
    """

    def __init__(self, namespace: str):
        """Subscribe."""
        self._node = rclpy.create_node('listener', namespace=namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._came_ns: Dict[int, Dict[str, int]] = {}
        self._values: Dict[str, str] = {}
        self.diagnosed_ns = 0
        for output, message_class in STAMPED.items():
            self._node.create_subscription(message_class, f'{NODE}/{output}',
                                           self._note(output), QoSProfile(depth=DEPTH), raw=True)
        self._node.create_subscription(DiagnosticArray, DIAGNOSTICS, self._diagnose,
                                       QoSProfile(depth=DEPTH))

    def _note(self, output: str):
        def note(message: bytes) -> None:
            came(message, {'received_timestamp': self._node.get_clock().now().nanoseconds})

        def came(message: bytes, info) -> None:
            self._came_ns.setdefault(_stamp_ns(message), {})[output] = info['received_timestamp']
        # Humble's rclpy hands over the message only.
        return came if hasattr(Subscription, 'CallbackType') else note

    def _diagnose(self, message: DiagnosticArray) -> None:
        self._values = {item.key: item.value for item in message.status[0].values}
        self.diagnosed_ns = nanoseconds(message.header.stamp)

    def spin(self) -> None:
        """Receive what comes next, or wait for a moment."""
        self._executor.spin_once(timeout_sec=POLL_S)

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()

    def take(self) -> Heard:
        """Return what is known and forget the frames."""
        whole = {stamp: max(times.values()) for stamp, times in self._came_ns.items()
                 if len(times) == len(STAMPED)}
        for stamp in whole:
            del self._came_ns[stamp]
        return Heard(whole, self._values)


def serve_listener(orders: Connection, namespace: str) -> None:
    """
    Listen until the orders end.

    An order is a time in nanoseconds, its reply a ``Heard`` as soon as the node's diagnostics are
    of a later time; 0 is answered at once.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    listener = LoadListener(namespace)
    try:
        while True:
            listener.spin()
            if orders.poll():
                after_ns = orders.recv()
                while after_ns and listener.diagnosed_ns <= after_ns:
                    listener.spin()
                orders.send(listener.take())
    finally:
        listener.close()
        rclpy.shutdown()
