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
from dataclasses import dataclass
import sys
import time
import traceback
from typing import Any, Callable, List, Optional, Sequence

from diagnostic_msgs.msg import DiagnosticArray
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.engine import build_engine, Engine
from mtl_perception.errors import ConfigError, PerceptionError
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
from mtl_perception.ros.diagnostics import (
    CountWindow, diagnostic_array, Health, judge, latency_values, LatencyWindow)
from mtl_perception.ros.image_input import ImageInput
from mtl_perception.ros.outputs import Outputs
from mtl_perception.ros.parameters import (
    declare_settings, parameters_help, read_settings, Settings)
from mtl_perception.ros.process import run_node
from mtl_perception.ros.worker import FrameWorker, Outcome
import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

CANNOT_START = 1
DIAGNOSTICS_PERIOD_S = 1.0
LOG_PERIOD_S = 5.0
WARM_UP_FRAMES = 2
# No queue makes a frame this old; two clocks that disagree do.
OTHER_CLOCK_MS = 10e3


@dataclass(frozen=True)
class Arrival:
    """
    A message and its times, in nanoseconds of the node's clock.

    :param message: Image or CompressedImage
    :param received_ns: when it came
    :param taken_ns: its stamp; ``received_ns`` where it has none or one ahead of this clock
    """

    message: Any
    received_ns: int
    taken_ns: int


class PerceptionNode(LifecycleNode):
    """
    Runs the network on the newest image and publishes what it sees.

    :param arguments: of ``rclpy.node.Node``
    :raises ConfigError: if a parameter given at the start has a wrong type or value
    """

    def __init__(self, **arguments):
        """Declare the parameters; the rest is the lifecycle's."""
        super().__init__('perception', **arguments)
        self._settings: Settings = declare_settings(self)
        self._worker = FrameWorker(self._process)
        self._latencies = LatencyWindow()
        self._counts = CountWindow()
        self._engine: Optional[Engine] = None
        self._outputs: Optional[Outputs] = None
        self._input: Optional[ImageInput] = None
        self._state = 'unconfigured'
        self._failure = ''
        self._silence = ''
        self._stale_advice = ''
        self._last_error = ''
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
        settings = self._settings
        checkpoint = load_checkpoint(settings.start.checkpoint)
        self._engine = build_engine(checkpoint, settings.engine)
        for warning in self._engine.warnings:
            self.get_logger().warning(warning)
        card = self._engine.card
        blank = Frame(np.zeros((card.input.height, card.input.width, 3), np.uint8))
        for _ in range(WARM_UP_FRAMES):
            self._engine.infer(blank, settings.inference)
        self._outputs = Outputs(self, card)
        self._outputs.publish_labels(settings.inference.score_threshold)
        self.get_logger().info(
            f'{card.name} from {checkpoint.folder} runs with {self._engine.engine_name} on '
            f'{self._engine.device_name}')

    def _activate(self) -> None:
        start = self._settings.start
        self._worker.start()
        self._input = ImageInput(self, start.image_transport, start.reliability, self._receive)
        self.get_logger().info(f'listening to {self._input.topic} ({start.image_transport})')

    def _deactivate(self) -> None:
        if self._input is not None:
            self._input.destroy()
            self._input = None
        self._worker.stop()

    def release(self) -> None:
        """End the worker and let go of engine and publishers; may be called twice."""
        self._deactivate()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
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
            read_settings(self, parameters)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._parameters_changed is not None:
            self._parameters_changed.trigger()
        return SetParametersResult(successful=True)

    def _apply_parameters(self) -> None:
        before, self._settings = self._settings, read_settings(self)
        threshold = self._settings.inference.score_threshold
        if self._outputs is not None and threshold != before.inference.score_threshold:
            self._outputs.publish_labels(threshold)

    # Frames

    def _receive(self, message: Any) -> None:
        now_ns = self.get_clock().now().nanoseconds
        stamp_ns = _nanoseconds(message.header.stamp)
        taken_ns = stamp_ns if 0 < stamp_ns <= now_ns else now_ns
        self._worker.put(Arrival(message, now_ns, taken_ns))

    def _process(self, arrival: Arrival) -> Outcome:
        """Answer one frame in the worker's thread."""
        try:
            return self._answer(arrival)
        except PerceptionError as error:
            self._last_error = str(error)
            self.get_logger().warning(
                f'frame dropped: {error}', throttle_duration_sec=LOG_PERIOD_S)
        except Exception as error:
            # Whatever one frame brings about, the next one is to be answered: this thread is
            # the one place where a bug must not end the node. It stays visible: in the log with
            # its traceback, in the counts and in the level of the diagnostics.
            if self.context.ok():
                self._last_error = f'{type(error).__name__}: {error}'
                self.get_logger().error(
                    f'frame dropped: {traceback.format_exc()}',
                    throttle_duration_sec=LOG_PERIOD_S)
        return Outcome.INVALID

    def _answer(self, arrival: Arrival) -> Outcome:
        settings, message = self._settings, arrival.message
        age_ms = self._age_ms(arrival)
        if age_ms > settings.stream.effective_max_age_ms:
            self._report_stale(age_ms, settings.stream.effective_max_age_ms)
            return Outcome.STALE
        start = time.perf_counter()
        frame = Frame(decode(message), _nanoseconds(message.header.stamp),
                      message.header.frame_id)
        decoded = time.perf_counter()
        prediction = self._engine.infer(frame, settings.inference)
        inferred = time.perf_counter()
        self._outputs.publish(message.header, frame, prediction,
                              settings.stream.class_id_format, self._age_ms(arrival))
        self._latencies.add({
            'age_at_arrival': (arrival.received_ns - arrival.taken_ns) / 1e9,
            'decode': decoded - start,
            **prediction.stage_seconds,
            'publish': time.perf_counter() - inferred,
            'end_to_end': self._age_ms(arrival) / 1e3})
        return Outcome.PROCESSED

    def _age_ms(self, arrival: Arrival) -> float:
        # A clock that jumped back must not make the age negative.
        return max(0.0, (self.get_clock().now().nanoseconds - arrival.taken_ns) / 1e6)

    def _report_stale(self, age_ms: float, limit_ms: float) -> None:
        advice = f'the last was {age_ms:.0f} ms old, more than max_age_ms = {limit_ms:.0f}'
        if age_ms > OTHER_CLOCK_MS:
            advice += ('; its stamp is from another clock: for a bag or a simulation set '
                       'use_sim_time:=true, else synchronise the clocks or raise max_age_ms')
        self._stale_advice = advice
        self.get_logger().warning(
            f'frame dropped: {advice}', throttle_duration_sec=LOG_PERIOD_S)

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        settings, counts, engine = self._settings, self._worker.counts, self._engine
        span_s, recent = self._counts.add(counts)
        window_s, times_ms = self._latencies.read()
        level, message = judge(Health(
            state=self._state, budget_ms=settings.stream.latency_budget_ms, window_s=window_s,
            end_to_end_ms=times_ms.get('end_to_end', ()), recent=recent,
            silence=self._watch_silence(settings.stream.image_timeout_s),
            stale_advice=self._stale_advice, last_error=self._last_error,
            warnings=engine.warnings if engine else ()))
        values = {
            'state': self._state,
            'checkpoint': settings.start.checkpoint,
            'engine': engine.engine_name if engine else '',
            'device': engine.device_name if engine else '',
            'image_topic': self._input.topic if self._input else '',
            'reliability': self._input.reliability if self._input else '',
            'received_hz': recent.received / span_s,
            'processed_hz': recent.processed / span_s,
            **vars(counts),
            'latency_budget_ms': settings.stream.latency_budget_ms,
            'max_age_ms': settings.stream.effective_max_age_ms,
            **latency_values(times_ms)}
        name = self.get_fully_qualified_name().lstrip('/')
        self._diagnostics.publish(diagnostic_array(
            self.get_clock().now().to_msg(), f'{name}: pipeline', values['device'], level,
            message, values))

    def _watch_silence(self, timeout_s: float) -> str:
        """Return what is known about images that do not come; log it when that changes."""
        silence_s = self._input.silence_s if self._input else 0.0
        explanation = self._input.explain_silence() if silence_s > timeout_s else ''
        if explanation != self._silence:
            if explanation:
                self.get_logger().warning(f'no image for {silence_s:.0f} s: {explanation}')
            elif self._input:
                self.get_logger().info('images arrive')
            self._silence = explanation
        return f'no image for {silence_s:.0f} s: {explanation}' if explanation else ''


def _nanoseconds(stamp) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the node until it is told to end."""
    parser = argparse.ArgumentParser(
        prog='perception_node', formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='perception_node [-h] [--ros-args -r image:=/camera/image_raw -p name:=value ...]',
        description='Subscribe to image; publish detections, mask and class of each frame.',
        epilog='parameters, each with its default:\n' + parameters_help())
    return run_node(lambda _: PerceptionNode(), parser, argv, CANNOT_START)


if __name__ == '__main__':
    sys.exit(main())
