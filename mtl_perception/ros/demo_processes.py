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
"""A camera, the node and a listener that records them: three processes over real DDS."""

from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
import os
from pathlib import Path
import tempfile
import time
from typing import Callable, Iterator, Sequence

from mtl_perception.bags import new_bag
from mtl_perception.card import Card
from mtl_perception.errors import PerceptionError
from mtl_perception.messages import read_prediction
from mtl_perception.ros.child import Child
from mtl_perception.ros.conversions import TYPES
from mtl_perception.ros.domain import free_domain
from mtl_perception.ros.monitor import live_table, Monitor, status_line
from mtl_perception.ros.recorder import Recorder
from mtl_perception.ros.recording import image_type, prediction_types
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from rich.live import Live
from sensor_msgs.msg import CompressedImage

CAMERA = '/camera/image_raw'
# The node answers the JPEG that is recorded, so that a replay gives the same answers.
RECORDED_CAMERA = f'{CAMERA}/compressed'
NODE = '/perception'
# What has a header; the rest is recorded, but tells of no frame.
STAMPED = {'detections': TYPES.Detection2DArray, 'segmentation': TYPES.Image,
           'classification_scores': TYPES.Classification}
START_S = 30.0
SILENCE_S = 10.0
LAST_ANSWER_S = 1.0
TERMINAL_PERIOD_S = 0.2
LINE_PERIOD_S = 3.0


class DemoError(PerceptionError):
    """A process of the demo ended or stays silent."""


def _isolate(log_folder: str) -> int:
    """Keep this process and its children in a domain of their own on this machine."""
    domain = free_domain()
    os.environ['ROS_DOMAIN_ID'] = str(domain)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'  # what Humble knows it as
    os.environ['ROS_LOG_DIR'] = log_folder
    return domain


class Listener:
    """
    Receives camera and answers as they are on the wire, counts and records them.

    :param writer: of the bag
    """

    def __init__(self, writer):
        """Subscribe."""
        self.monitor = Monitor(set(STAMPED))
        self._node = rclpy.create_node('demo')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        types = {RECORDED_CAMERA: image_type(RECORDED_CAMERA), **prediction_types(NODE)}
        self._recorder = Recorder(self._node, writer, types, self._receive)

    def _receive(self, topic: str, received_ns: int, data: bytes) -> None:
        output = topic.rpartition('/')[2]
        if topic == RECORDED_CAMERA:
            stamp = deserialize_message(data, CompressedImage).header.stamp
            self.monitor.add_picture(_nanoseconds(stamp))
        elif output in STAMPED:
            message = deserialize_message(data, STAMPED[output])
            self.monitor.add_answer(output, _nanoseconds(message.header.stamp), received_ns,
                                    message)

    def now_ns(self) -> int:
        """Return the time of ROS's clock."""
        return self._node.get_clock().now().nanoseconds

    def is_node_listening(self) -> bool:
        """Tell whether somebody besides the recorder listens to the camera and answers."""
        return (self._node.count_subscribers(RECORDED_CAMERA) > 1
                and self._node.count_publishers(f'{NODE}/detections') > 0)

    def spin(self, seconds: float) -> None:
        """Receive for some time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0.0:
            self._executor.spin_once(timeout_sec=left)

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()


def _nanoseconds(stamp) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


@contextmanager
def _listening(writer) -> Iterator[Listener]:
    # Ctrl-C is this program's to handle: it has children to end.
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        listener = Listener(writer)
        try:
            yield listener
        finally:
            listener.close()
    finally:
        rclpy.try_shutdown()


def _check(children: Sequence[Child], may_end: Sequence[Child] = ()) -> None:
    for child in children:
        if child.status is not None and not (child in may_end and child.status == 0):
            raise DemoError(f'{child.name} ended with status {child.status}; its last lines:\n'
                            f'{child.last_lines()}')


def _wait_for_node(listener: Listener, node: Child) -> None:
    deadline = time.monotonic() + START_S
    while not listener.is_node_listening():
        _check([node])
        if time.monotonic() > deadline:
            raise DemoError(f'expected the node within {START_S:.0f} s, got no sign of it; its '
                            f'last lines:\n{node.last_lines()}')
        listener.spin(0.1)


def _follow(listener: Listener, camera: Child, node: Child, seconds: float,
            show: Callable[[float], None], period_s: float) -> None:
    """Receive and show until the camera or the time ends."""
    start = last_progress = time.monotonic()
    answered = 0
    while camera.status is None and (elapsed := time.monotonic() - start) < seconds:
        listener.spin(min(period_s, seconds - elapsed))
        _check([node, camera], may_end=[camera])
        if listener.monitor.answered > answered:
            answered, last_progress = listener.monitor.answered, time.monotonic()
        elif time.monotonic() - last_progress > SILENCE_S:
            raise DemoError(f'expected answers, got none for {SILENCE_S:.0f} s; the last lines of '
                            f'{node.name}:\n{node.last_lines()}\nand of {camera.name}:\n'
                            f'{camera.last_lines()}')
        show(time.monotonic() - start)
    # What is under way may still arrive.
    listener.spin(LAST_ANSWER_S)


@dataclass(frozen=True)
class DemoPlan:
    """
    What the demo does.

    :param checkpoint: name or path of the weights
    :param card: their card
    :param source: what the camera plays, once
    :param rate_hz: pictures a second
    :param seconds: the end, where the source does not end before
    :param out: folder of the logs
    :param bag: folder of the recording
    :param lines: print lines even on a terminal
    """

    checkpoint: str
    card: Card
    source: Path
    rate_hz: float
    seconds: float
    out: Path
    bag: Path
    lines: bool


def run_demo(plan: DemoPlan) -> Monitor:
    """
    Run camera, node and listener in a ROS domain of their own; leave the recording.

    :return: what was counted
    :raises DemoError: if a process ends too early or stays silent
    """
    node = Child('mtl_perception.ros.node', [
        '--ros-args', '-p', f'checkpoint:={plan.checkpoint}', '-p', 'image_transport:=compressed',
        '-r', f'image:={CAMERA}'],
        plan.out / 'perception_node.log')
    camera = Child('mtl_perception.ros.camera', [
        str(plan.source), '--no-loop', '--rate', str(plan.rate_hz), '--wait-for', '2',
        '--image-transport', 'compressed',
        '--ros-args', '-r', f'image:={CAMERA}'], plan.out / 'camera_node.log')
    with ExitStack() as stack:
        domain = _isolate(stack.enter_context(tempfile.TemporaryDirectory(prefix='demo_log_')))
        title = (f'camera_node {RECORDED_CAMERA} -> perception_node {NODE} ({plan.card.name}), '
                 f'over DDS in ROS domain {domain}')
        print(f'starting {title}', flush=True)
        listener = stack.enter_context(_listening(stack.enter_context(new_bag(plan.bag))))
        for child in (node, camera):
            stack.callback(child.end)
        node.start()
        _wait_for_node(listener, node)
        camera.start()
        console = Console()
        live = console.is_terminal and not plan.lines and stack.enter_context(
            Live(console=console, auto_refresh=False))

        def show(elapsed_s: float) -> None:
            monitor, now_ns, latest = listener.monitor, listener.now_ns(), None
            if monitor.latest:
                latest = read_prediction(plan.card, **monitor.latest)
            if live:
                live.update(live_table(title, elapsed_s, plan.seconds, monitor, now_ns, latest,
                                       plan.card), refresh=True)
            else:
                print(status_line(elapsed_s, monitor, now_ns, latest, plan.card), flush=True)

        _follow(listener, camera, node, plan.seconds, show,
                TERMINAL_PERIOD_S if live else LINE_PERIOD_S)
    return listener.monitor
