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
"""
Record what a perception node says into a rosbag2 (mcap), where ``ros2 bag`` is not installed.

The bag appears under its name when the recording ends (Ctrl-C), and grows in NAME.partial until
then. It ends by itself before the disk is full.
"""

import argparse
from contextlib import ExitStack, suppress
from datetime import datetime
from importlib import import_module
import os
from pathlib import Path
import sys
from typing import Callable, Mapping, Optional, Sequence, Tuple

from mtl_perception.bags import bag_types, new_bag
from mtl_perception.cli.command import BAD_INPUT, HelpFormatter
from mtl_perception.errors import ConfigError
from mtl_perception.ros.process import run_node
from mtl_perception.ros.recording import (
    check_space, image_type, LABEL_INFO, prediction_types, recording_name, START_BYTES,
    STOP_BYTES)
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import (
    Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime)
from rosbags.rosbag2 import Writer

DEPTH = 50
FOLLOW_PERIOD_S = 0.5
NEVER = QosTime(0, 0)

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
LATCHED, VOLATILE = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE

Quality = Tuple[ReliabilityPolicy, DurabilityPolicy]


def _message_class(full_name: str) -> type:
    package, _, name = full_name.split('/')
    return getattr(import_module(f'{package}.msg'), name)


def _offered(topic: str) -> Sequence[Qos]:
    """Return what a player has to offer so that late listeners know the labels too."""
    durability = QosDurability.TRANSIENT_LOCAL if topic.endswith(LABEL_INFO) \
        else QosDurability.VOLATILE
    return [Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, durability, NEVER, NEVER,
                QosLiveliness.AUTOMATIC, NEVER, False)]


class Recorder:
    """
    Writes the messages of topics as they are on the wire; its quality of service follows theirs.

    :param node: that subscribes
    :param writer: of a bag
    :param types: full type name of each topic
    :param on_message: called with topic, time of arrival in nanoseconds and bytes of each message
    """

    def __init__(self, node: Node, writer: Writer, types: Mapping[str, str],
                 on_message: Callable[[str, int, bytes], None] = lambda *_: None):
        """Subscribe."""
        self.count = 0
        self.broken = False
        self._node = node
        self._writer = writer
        self._on_message = on_message
        self._classes = {topic: _message_class(name) for topic, name in types.items()}
        self._connections = {
            topic: writer.add_connection(topic, name, typestore=bag_types(),
                                         offered_qos_profiles=_offered(topic))
            for topic, name in types.items()}
        self._subscriptions = {topic: self._subscribe(
            topic, (RELIABLE, LATCHED if topic.endswith(LABEL_INFO) else VOLATILE))
            for topic in types}
        self._timer = node.create_timer(FOLLOW_PERIOD_S, self._follow,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _subscribe(self, topic: str, quality: Quality) -> tuple:
        reliability, durability = quality
        subscription = self._node.create_subscription(
            self._classes[topic], topic, lambda data: self._receive(topic, data),
            QoSProfile(depth=DEPTH, reliability=reliability, durability=durability), raw=True)
        return quality, subscription

    def _receive(self, topic: str, data: bytes) -> None:
        received_ns = self._node.get_clock().now().nanoseconds
        try:
            self._writer.write(self._connections[topic], received_ns, data)
        except OSError as error:
            self.broken = True
            raise ConfigError(f'{self._writer.path}: the bag cannot be written: '
                              f'{error.strerror}') from error
        self.count += 1
        self._on_message(topic, received_ns, data)

    def _follow(self) -> None:
        """Ask for the most that every publisher of a topic offers."""
        for topic, (quality, subscription) in self._subscriptions.items():
            offers = [info.qos_profile for info in self._node.get_publishers_info_by_topic(topic)]
            is_sure = all(offer.reliability != BEST_EFFORT for offer in offers)
            is_latched = all(offer.durability != VOLATILE for offer in offers)
            common = RELIABLE if is_sure else BEST_EFFORT, LATCHED if is_latched else VOLATILE
            if offers and common != quality:
                self._node.destroy_subscription(subscription)
                self._subscriptions[topic] = self._subscribe(topic, common)


class RecorderNode(Node):
    """
    Records until it is released.

    :param names: that predictions are under, such as ``/perception``
    :param images: topics to record besides
    :param path: of the bag
    :raises ConfigError: if there is too little space, or something at ``path``
    """

    def __init__(self, names: Sequence[str], images: Sequence[str], path: Path):
        """Start to record."""
        super().__init__('recorder')
        self.failed = False
        self._path = path
        check_space(path.parent, START_BYTES)
        self._bag = ExitStack()
        self._writer = self._bag.enter_context(new_bag(path))
        types = {image: image_type(image) for image in images}
        for name in names:
            types.update(prediction_types(name))
        self._recorder = Recorder(
            self, self._writer, types, lambda *_: check_space(path.parent, STOP_BYTES))
        self.get_logger().info(f'recording {", ".join(types)} into {path}')

    def release(self) -> None:
        """Finish the bag; where that cannot be, leave what it holds so far."""
        kept = self._path.with_name(f'{self._path.name}_unfinished.mcap')
        with suppress(OSError):  # not every file system has links
            # A bag that cannot be finished is removed; by its second name it stays.
            os.link(self._writer.path / f'{self._path.name}.mcap', kept)
        try:
            self._bag.close()
        except ConfigError as error:
            self.failed = True
            told = '' if self._recorder.broken else f'error: {error}; '
            print(f'{told}{kept} holds what came before', file=sys.stderr)
        else:
            kept.unlink(missing_ok=True)
            print(f'{self._path}: {self._recorder.count} messages')  # ROS has no log any more


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Record until it is told to end."""
    parser = argparse.ArgumentParser(
        prog='python -m mtl_perception.ros.recorder', formatter_class=HelpFormatter,
        description=__doc__)
    parser.add_argument('--node', nargs='+', default=['/perception'], metavar='NAME',
                        help='full name of the node, or of several cameras /front/perception ...')
    parser.add_argument('--image', nargs='*', default=[], metavar='TOPIC',
                        help='image to record besides, such as /camera/image_raw/compressed')
    parser.add_argument('--out', type=Path,
                        help='of the bag; named after node and time, in this folder, if not given')
    recorders = []

    def create(arguments: argparse.Namespace) -> RecorderNode:
        path = arguments.out or Path(recording_name(arguments.node[0], datetime.now()))
        recorders.append(RecorderNode(arguments.node, arguments.image, path.absolute()))
        return recorders[0]

    status = run_node(create, parser, argv, BAD_INPUT)
    return status or (BAD_INPUT if any(recorder.failed for recorder in recorders) else 0)


if __name__ == '__main__':
    sys.exit(main())
