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
The whole line on one machine: a camera, the node and a listener, three processes over real DDS.

The camera plays rendered household frames, the node answers each, the listener shows and records
what arrives, and draws the pictures from its recording.
"""

import argparse
from contextlib import contextmanager, ExitStack
import os
from pathlib import Path
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from typing import Callable, Iterator, List, Optional, Sequence

import cv2
from mtl_perception.bag_pictures import draw_answer, read_answers
from mtl_perception.bags import bag_types, new_bag
from mtl_perception.card import Card
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.data.tour import household_tour
from mtl_perception.errors import ConfigError, PerceptionError
from mtl_perception.messages import OUTPUT_TYPES, read_prediction
from mtl_perception.overlay import contact_sheet
from mtl_perception.ros.child import Child
from mtl_perception.ros.conversions import TYPES
from mtl_perception.ros.image_input import LARGE_DATA
from mtl_perception.ros.monitor import live_table, Monitor, status_line
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from rich.live import Live
from sensor_msgs.msg import CompressedImage

CAMERA = '/camera/image_raw'
RECORDED_CAMERA = f'{CAMERA}/compressed'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
NODE = '/perception'
# String has no header: it is recorded, but tells of no frame.
STAMPED = {'detections': TYPES.Detection2DArray, 'segmentation': TYPES.Image,
           'classification_scores': TYPES.Classification}
DEPTH = 50
START_S = 30.0
SILENCE_S = 10.0
LAST_ANSWER_S = 1.0
PICTURES = 12
SHEET = 'contact_sheet.png'
BAG = 'bag'
REFRESH_S = {True: 0.2, False: 3.0}
MAX_DOMAIN = 101  # above, the ports of DDS meet those that Linux gives out


class DemoError(PerceptionError):
    """A process of the demo ended or stays silent."""


def _free_domain() -> int:
    """Return a random domain that nobody on this machine is in."""
    domains = random.SystemRandom().sample(range(1, MAX_DOMAIN + 1), MAX_DOMAIN)
    for domain in domains:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Where a domain's first participant listens (DDSI-RTPS 2.3, section 9.6.1.1).
                probe.bind(('', 7400 + 250 * domain + 10))
                return domain
            except OSError:
                continue
    raise DemoError('expected a free ROS domain from 1 to 101, got none; end some of the ROS '
                    'programs on this machine')


def _isolate(log_folder: str) -> int:
    """Keep this process and its children in a domain of their own on this machine."""
    domain = _free_domain()
    os.environ['ROS_DOMAIN_ID'] = str(domain)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'  # what Humble knows it as
    os.environ.setdefault('FASTDDS_BUILTIN_TRANSPORTS', LARGE_DATA)
    os.environ['ROS_LOG_DIR'] = log_folder
    return domain


def _is_own(path: Path) -> bool:
    if path.name in (BAG, f'{BAG}.partial'):
        return all(item.name in (BAG, f'{BAG}.mcap', 'metadata.yaml') for item in path.rglob('*'))
    return path.is_file() and (path.name == SHEET or any(
        path.match(pattern) for pattern in ('overlay_[0-9][0-9].png', '*_node.log')))


def prepare_folder(folder: Path) -> None:
    """
    Make the folder, empty; what an earlier demo left there is replaced.

    :raises ConfigError: if it holds anything else, or cannot be made
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content = list(folder.iterdir())
        others = sorted(path.name for path in content if not _is_own(path))
        if others:
            raise ConfigError(f'{folder}: expected a folder of the demo or a new name, got one '
                              f'with {", ".join(others[:3])}; choose another with --out')
        for path in content:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise ConfigError(f'{folder}: cannot be written: {error.strerror}') from None


class Listener:
    """
    Receives camera and answers as they are on the wire, counts and records them.

    :param writer: of the bag
    """

    def __init__(self, writer):
        """Subscribe."""
        self.monitor = Monitor(set(STAMPED))
        self._writer = writer
        self._node = rclpy.create_node('demo')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._listen(RECORDED_CAMERA, CompressedImage, COMPRESSED, self._receive_picture)
        for output, full_name in OUTPUT_TYPES.items():
            self._listen(f'{NODE}/{output}', STAMPED.get(output, TYPES.String), full_name,
                         self._receive_answer(output) if output in STAMPED else None)

    def _listen(self, topic: str, message_type: type, full_name: str,
                callback: Optional[Callable]) -> None:
        connection = self._writer.add_connection(topic, full_name, typestore=bag_types())

        def receive(data: bytes) -> None:
            received_ns = self.now_ns()
            if callback is not None:
                callback(received_ns, deserialize_message(data, message_type))
            self._writer.write(connection, received_ns, data)

        self._node.create_subscription(message_type, topic, receive, QoSProfile(depth=DEPTH),
                                       raw=True)

    def _receive_picture(self, _: int, message) -> None:
        self.monitor.add_picture(_nanoseconds(message.header.stamp))

    def _receive_answer(self, output: str) -> Callable:
        return lambda received_ns, message: self.monitor.add_answer(
            output, _nanoseconds(message.header.stamp), received_ns, message)

    def now_ns(self) -> int:
        """Return the time of ROS's clock."""
        return self._node.get_clock().now().nanoseconds

    def is_node_listening(self) -> bool:
        """Tell whether somebody listens to the camera's raw pictures and answers them."""
        return bool(self._node.count_subscribers(CAMERA)
                    and self._node.count_publishers(f'{NODE}/detections'))

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


def _follow(listener: Listener, camera: Child, node: Child, arguments: argparse.Namespace,
            show: Callable[[float], None], period_s: float) -> None:
    """Receive and show until the camera or the time ends."""
    start = last_progress = time.monotonic()
    answered = 0
    while camera.status is None and (elapsed := time.monotonic() - start) < arguments.seconds:
        listener.spin(min(period_s, arguments.seconds - elapsed))
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


def _run(arguments: argparse.Namespace, card: Card, source: Path, domain: int,
         console: Console) -> Monitor:
    """Run the three processes; leave the recording."""
    out = arguments.out
    node = Child('mtl_perception.ros.node', [
        '--ros-args', '-p', f'checkpoint:={arguments.checkpoint}', '-r', f'image:={CAMERA}'],
        out / 'perception_node.log')
    camera = Child('mtl_perception.ros.camera', [
        str(source), '--no-loop', '--rate', str(arguments.rate), '--image-transport', 'both',
        '--ros-args', '-r', f'image:={CAMERA}'], out / 'camera_node.log')
    title = (f'camera_node {CAMERA} -> perception_node {NODE}, over DDS, ROS domain {domain}, '
             f'weights {card.name}')
    with new_bag(out / BAG) as writer, _listening(writer) as listener, ExitStack() as children:
        print(f'starting: {title}', flush=True)
        _wait_for_node(listener, children.enter_context(node))
        children.enter_context(camera)
        live = arguments.live and children.enter_context(Live(console=console,
                                                              auto_refresh=False))

        def show(elapsed_s: float) -> None:
            monitor, now_ns = listener.monitor, listener.now_ns()
            prediction = read_prediction(card, **monitor.latest) if monitor.latest else None
            if live:
                live.update(live_table(title, elapsed_s, arguments.seconds, monitor, now_ns,
                                       prediction, card), refresh=True)
            else:
                print(status_line(elapsed_s, monitor, now_ns, prediction, card), flush=True)

        _follow(listener, camera, node, arguments, show, REFRESH_S[bool(live)])
    return listener.monitor


def _write_pictures(out: Path, card: Card) -> List[Path]:
    """Draw some of the recorded frames, evenly over the time, and a sheet of all."""
    answers = read_answers(out / BAG, RECORDED_CAMERA, NODE)
    if not answers:
        raise DemoError(f'{out / BAG}: expected answered pictures, got none')
    chosen = np.unique(np.linspace(0, len(answers) - 1, PICTURES).round().astype(int))
    pictures = [draw_answer(answers[index], card) for index in chosen]
    paths = [out / f'overlay_{number:02d}.png' for number in range(1, len(pictures) + 1)]
    for path, picture in zip([*paths, out / SHEET], [*pictures, contact_sheet(pictures)]):
        cv2.imwrite(str(path), picture)
    return paths


def _demo(arguments: argparse.Namespace) -> None:
    if not 1.0 <= arguments.seconds <= 600.0:
        raise ConfigError(f'expected --seconds from 1 to 600, got {arguments.seconds:g}')
    if not 0.1 <= arguments.rate <= 100.0:
        raise ConfigError(f'expected --rate from 0.1 to 100, got {arguments.rate:g}')
    card = load_checkpoint(arguments.checkpoint).card
    source = arguments.source or household_tour()
    console = Console()
    arguments.live = console.is_terminal and not arguments.lines
    out = arguments.out
    prepare_folder(out)
    with tempfile.TemporaryDirectory(prefix='mtl_perception_demo_') as log_folder:
        monitor = _run(arguments, card, source, _isolate(log_folder), console)
    paths = _write_pictures(out, card)
    megabytes = sum(path.stat().st_size for path in (out / BAG).iterdir()) / 1e6
    print(f"""
{monitor.answered} frames answered, {monitor.dropped} dropped; stamp to last answer received: \
p50 {monitor.latency_ms(50):.0f} ms, p95 {monitor.latency_ms(95):.0f} ms
  {out / SHEET} and {len(paths)} pictures {paths[0].name} to {paths[-1].name}
  {out / BAG}: rosbag2 (mcap, {megabytes:.0f} MB) of camera (JPEG, for its size) and predictions

next: see your own pictures   .venv/bin/predict PICTURES --out seen
      see your own bag        .venv/bin/predict_bag BAG BAG_SEEN
      on a robot              ros2 launch mtl_perception perception.launch.py \
image:=/camera/image_raw""")


def _end_on(number: int) -> None:
    """Let a signal end the demo as Ctrl-C does."""
    def interrupt(*_):
        raise KeyboardInterrupt
    signal.signal(number, interrupt)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m mtl_perception.ros.demo', formatter_class=HelpFormatter,
        description=__doc__)
    parser.add_argument('--seconds', type=float, default=30.0,
                        help='end after that, or where the pictures end')
    parser.add_argument('--out', type=Path, default=Path('demo_out'),
                        help="folder; an earlier demo's is replaced")
    parser.add_argument('--checkpoint', default='household',
                        help='a name in weights/, or a path')
    parser.add_argument('--source', type=Path,
                        help='pictures, video or bag to play; the household tour if not given')
    parser.add_argument('--rate', type=float, default=10.0, help='pictures a second')
    parser.add_argument('--lines', action='store_true',
                        help='print a line every three seconds, as without a terminal')
    for number in (signal.SIGTERM, signal.SIGHUP):
        _end_on(number)
    return run_command(_demo, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
