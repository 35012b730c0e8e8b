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
"""Run one node as a process: exit codes, one line for what a user got wrong, a clean end."""

import argparse
import signal
import sys
from typing import Callable, Optional, Sequence

from mtl_perception.errors import ConfigError, PerceptionError
import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import uninstall_signal_handlers
from rclpy.utilities import remove_ros_args

RCLError = rclpy_implementation.RCLError


def run_node(create_node: Callable, parser: argparse.ArgumentParser,
             argv: Optional[Sequence[str]], failure_status: int) -> int:
    """
    Create a node, spin it until it is told to end, and release it.

    :param create_node: called with the parsed arguments; what it returns has a ``release()``
        that ends its threads and lets go of what it holds
    :param parser: of the arguments that are not ROS's
    :param argv: all arguments, ``sys.argv[1:]`` if None
    :param failure_status: returned when the node cannot do its work
    :return: 0 after SIGINT, SIGTERM or the node's own end
    """
    arguments = sys.argv if argv is None else [parser.prog, *argv]
    node = None
    try:
        parsed = parser.parse_args(_initialize(arguments))
        node = _create(create_node, parsed)
        _spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (PerceptionError, NameValidationException) as error:
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        return failure_status
    finally:
        # A launch file's SIGINT after a terminal's must not cut the end short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.release()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _initialize(arguments: Sequence[str]) -> Sequence[str]:
    """Start ROS; return the arguments that are not its own."""
    try:
        rest = remove_ros_args(arguments)
        if not {'-h', '--help'}.intersection(rest):
            rclpy.init(args=arguments)
        return rest[1:]
    except RuntimeError as error:
        reason = str(error).split('. Error:')[0].split(', at ')[0]
        raise ConfigError(f'expected ROS arguments such as --ros-args -r image:=/camera/image_raw '
                          f'-p name:=value, got: {reason}') from None


def _create(create_node: Callable, parsed: argparse.Namespace):
    """Return the node; what the middleware cannot do, such as SROS2, is one line."""
    try:
        return create_node(parsed)
    except RCLError as error:
        reason = ' '.join(str(error).split()).split(', at /')[0]
        raise ConfigError(f'expected a middleware that can run this node, got: {reason}') from None


def _spin(node) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while rclpy.ok():
            try:
                executor.spin()
            except RCLError as error:
                # Up to Jazzy, rclpy raises here when a lifecycle manager asks for a transition
                # that the present state does not have.
                if rclpy.ok():
                    node.get_logger().error(f'refused: {error}')
    finally:
        _end_signal_handling()
        executor.shutdown(timeout_sec=0.0)


def _end_signal_handling() -> None:
    """
    Hear no more signals, as the end has begun.

    rclpy wakes executors from a thread of its own, which must be through with this one's guard
    conditions before they are freed: on a busy machine one end in fifty was a segmentation fault.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    uninstall_signal_handlers()
