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
"""The lifecycle node ``perception``: an image in; detections, mask and class out."""

import argparse
import sys
import traceback
from typing import Any, Callable, Dict, List, Optional, Sequence

from diagnostic_msgs.msg import DiagnosticArray
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.engine import build_engine, Engine
from mtl_perception.errors import ConfigError, DeviceError, PerceptionError
from mtl_perception.frame import Frame
from mtl_perception.output_names import output_names
from mtl_perception.ros.ages import Arrival
from mtl_perception.ros.outputs import Outputs
from mtl_perception.ros.parameters import (
    declare_settings, fixed_changes, parameters_help, read_settings, Settings)
from mtl_perception.ros.process import run_node
from mtl_perception.ros.report import NodeFacts, status_messages
from mtl_perception.ros.stream import CameraStream
from mtl_perception.ros.worker import FrameCounts, FrameWorker, Outcome
import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

CANNOT_START = 1
DIAGNOSTICS_PERIOD_S = 1.0
WARM_UP_FRAMES, WARM_UP_SIZE = 2, (480, 640)
# Of Python's threads: a frame that came must not wait 5 ms, the default, for the worker's turn.
SWITCH_INTERVAL_S = 1e-4


class PerceptionNode(LifecycleNode):
    """
    Runs the network on the newest image of each camera and publishes what it sees.

    :param arguments: of ``rclpy.node.Node``
    :raises ConfigError: if a parameter given at the start has a wrong type or value
    """

    def __init__(self, **arguments):
        """Declare the parameters; the rest is the lifecycle's."""
        super().__init__('perception', **arguments)
        self._settings: Settings = declare_settings(self)
        self._worker = FrameWorker(self._answer)
        self._streams: Dict[str, CameraStream] = {}
        self._engine: Optional[Engine] = None
        self._state = 'unconfigured'
        self._failure = ''
        self._said: Sequence[str] = ()
        self._device_lost = self.create_guard_condition(self._give_up)
        self._follow_parameters()
        # Steady time: a simulation that stands still must not keep the node from saying so.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self._autostart_timer = None
        if self._settings.start.autostart:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)

    # Lifecycle

    def on_configure(self, state) -> TransitionCallbackReturn:
        """Load the weights, warm the engine up, announce the outputs."""
        return self._change_to('inactive', self._configure, undo=self.release)

    def on_activate(self, state) -> TransitionCallbackReturn:
        """Start to work and to listen."""
        return self._change_to('active', self._activate, undo=self._deactivate)

    def on_deactivate(self, state) -> TransitionCallbackReturn:
        """Stop to listen once the frame that is being worked on is published."""
        return self._change_to('inactive', self._deactivate)

    def on_cleanup(self, state) -> TransitionCallbackReturn:
        """Let go of engine and outputs."""
        return self._change_to('unconfigured', self.release)

    def on_shutdown(self, state) -> TransitionCallbackReturn:
        """Let go of everything, in whatever state."""
        return self._change_to('finalized', self.release)

    def on_error(self, state) -> TransitionCallbackReturn:
        """Let go of everything, so that the node may be configured again."""
        return self._change_to('unconfigured', self.release)

    def _change_to(self, state: str, action: Callable[[], None],
                   undo: Callable[[], None] = lambda: None) -> TransitionCallbackReturn:
        try:
            action()
        except PerceptionError as error:
            self._failure = str(error)
            if self._autostart_timer is None:
                self.get_logger().error(self._failure)
            undo()
            return TransitionCallbackReturn.FAILURE
        except Exception:
            if not self.context.ok():
                raise SystemExit(0)  # told to end meanwhile; nothing went wrong
            # rclpy turns exceptions of transitions into ERROR and drops what they say.
            self.get_logger().error(traceback.format_exc())
            raise
        self._state = state
        return TransitionCallbackReturn.SUCCESS

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS and self.context.ok():
                raise PerceptionError(self._failure or 'the node cannot start')
        self.destroy_timer(self._autostart_timer)
        self._autostart_timer = None

    def _configure(self) -> None:
        self._settings = settings = read_settings(self)
        checkpoint = load_checkpoint(settings.start.checkpoint)
        self._engine = engine = build_engine(checkpoint, settings.engine)
        engine.prepare()
        blank = Frame(np.zeros((*WARM_UP_SIZE, 3), np.uint8))
        for _ in range(WARM_UP_FRAMES):
            engine.infer(blank, settings.inference)
        self._said = ()
        self._say_warnings()
        self._open_streams(settings.start.images, engine)
        self._failure = ''
        self.get_logger().info(
            f'{engine.card.name} from {checkpoint.folder} runs with {engine.engine_name} on '
            f'{engine.device_name} ({engine.provider})')

    def _open_streams(self, images: Sequence[str], engine: Engine) -> None:
        full = {name: self.resolve_topic_name(name, only_expand=True) for name in images}
        if len(set(full.values())) < len(full):
            raise ConfigError(f'images: expected different topics, one a camera, got {full}')
        places = output_names(list(full.values()), self.get_name(),
                              self.get_namespace().rstrip('/'))
        counts = self._worker.counts
        for name in images:
            outputs = Outputs(self, places[full[name]], engine.card)
            self._streams[name] = CameraStream(
                self, name, outputs, counts.get(name, FrameCounts()))
            outputs.publish_labels(self._settings.inference.score_threshold)

    def _activate(self) -> None:
        start = self._settings.start
        self._worker.start()
        for stream in self._streams.values():
            stream.listen(start.image_transport, start.reliability, self._worker.put)
            self.get_logger().info(f'listening to {stream.input.topic} ({start.image_transport})')

    def _deactivate(self) -> None:
        for stream in self._streams.values():
            stream.rest()
        self._worker.stop()

    def release(self) -> None:
        """End the worker and let go of engine and publishers; may be called twice."""
        self._deactivate()
        for stream in self._streams.values():
            stream.outputs.destroy()
        self._streams = {}
        self._engine = None

    # Parameters

    def _follow_parameters(self) -> None:
        self.add_on_set_parameters_callback(self._check_parameters)
        if hasattr(self, 'add_post_set_parameters_callback'):
            self.add_post_set_parameters_callback(lambda _: self._apply_parameters())
            self._parameters_changed = None
        else:  # Humble: look when the executor is done with setting them
            self._parameters_changed = self.create_guard_condition(self._apply_parameters)

    def _check_parameters(self, parameters: List[Any]) -> SetParametersResult:
        try:
            wanted = read_settings(self, parameters)
            fixed = fixed_changes(self._settings, wanted)
            if fixed and self._state in ('inactive', 'active'):
                raise ConfigError(
                    f'{", ".join(fixed)}: fixed while the node is {self._state}; first '
                    f'ros2 lifecycle set {self.get_fully_qualified_name()} '
                    + ('cleanup' if self._state == 'inactive' else 'deactivate, then cleanup'))
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._parameters_changed is not None:
            self._parameters_changed.trigger()
        return SetParametersResult(successful=True)

    def _apply_parameters(self) -> None:
        before, self._settings = self._settings, read_settings(self)
        threshold = self._settings.inference.score_threshold
        if threshold != before.inference.score_threshold:
            for stream in self._streams.values():
                stream.outputs.publish_labels(threshold)

    # Frames, in the worker's thread

    def _answer(self, camera: str, arrival: Arrival) -> Outcome:
        try:
            return self._streams[camera].answer(arrival, self._engine, self._settings)
        except DeviceError as error:
            self._failure = str(error)
            self._device_lost.trigger()
            return Outcome.INVALID
        finally:
            self._say_warnings()

    def _say_warnings(self) -> None:
        """Log what the engine could not have, or lost since."""
        for warning in self._engine.warnings[len(self._said):]:
            self.get_logger().warning(warning)
        self._said = self._engine.warnings

    def _give_up(self) -> None:
        """Stop, as the device that is required is lost: by an exit if nobody manages the node."""
        if self._state != 'active':
            return
        failure = self._failure
        if self._settings.start.autostart:
            raise DeviceError(failure)
        self.get_logger().error(f'{failure}; require_device is set, so the node stops')
        self.trigger_deactivate()
        self.trigger_cleanup()
        self._failure = failure

    def _publish_diagnostics(self) -> None:
        facts = NodeFacts(self.get_fully_qualified_name().lstrip('/'), self._state, self._failure,
                          self._settings, self._engine)
        array = DiagnosticArray(status=status_messages(
            facts, list(self._streams.values()), self._worker.counts))
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the node until it is told to end."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    parser = argparse.ArgumentParser(
        prog='perception_node', formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='perception_node [-h] [--ros-args -r image:=/camera/image_raw -p name:=value ...]',
        description='Subscribe to image; publish detections, mask and class of each frame.',
        epilog='parameters, each with its default:\n' + parameters_help())
    return run_node(lambda _: PerceptionNode(), parser, argv, CANNOT_START)


if __name__ == '__main__':
    sys.exit(main())
