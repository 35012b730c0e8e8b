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
"""One camera's way through the node: its subscription, its outputs and what is known of both."""

import time
import traceback
from typing import Any, Callable, Dict, List, Optional, Tuple

from mtl_perception.engine import Engine
from mtl_perception.errors import DeviceError, PerceptionError
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
from mtl_perception.ros.ages import age_ms, Arrival, nanoseconds, note_arrival
from mtl_perception.ros.diagnostics import (
    CountWindow, Health, latency_values, LatencyWindow, percentiles_ms, WINDOW_S)
from mtl_perception.ros.image_input import ImageInput
from mtl_perception.ros.outputs import Outputs
from mtl_perception.ros.parameters import Settings
from mtl_perception.ros.worker import FrameCounts, Outcome

LOG_PERIOD_S = 5.0
SILENCE_LOG_PERIOD_S = 30.0
# No queue makes a frame this old; two clocks that disagree do.
OTHER_CLOCK_MS = 10e3


class CameraStream:
    """
    Answers one camera's frames.

    :param node: that subscribes and publishes
    :param name: of the image, before remappings
    :param outputs: where the answers go
    :param counts: of the frames that came before
    """

    def __init__(self, node, name: str, outputs: Outputs, counts: FrameCounts):
        """Prepare; nothing comes before ``listen``."""
        self.name = name
        self.outputs = outputs
        self.latencies = LatencyWindow()
        self.input: Optional[ImageInput] = None
        self._node = node
        self._counts = CountWindow(counts)
        self._stale_advice = ''
        self._last_error = ''
        self._logged_silence = ''
        self._silence_logged_s = 0.0
        self._clock_note: Tuple[str, float] = '', 0.0

    def listen(self, transport: str, reliability: str,
               receive: Callable[[str, Arrival], None]) -> None:
        """
        Subscribe.

        :param receive: called with the camera's name and each message in the executor's thread
        """
        self.input = ImageInput(
            self._node, self.name, transport, reliability,
            lambda message: receive(self.name, note_arrival(self._node.get_clock(), message)))

    def rest(self) -> None:
        """Stop listening."""
        if self.input is not None:
            self.input.destroy()
            self.input = None

    # In the worker's thread

    def answer(self, arrival: Arrival, engine: Engine, settings: Settings) -> Outcome:
        """
        Publish what the network sees in a frame, unless it is too old; raise nothing else.

        :raises DeviceError: if the engine's device is lost and nothing may stand in for it
        """
        try:
            return self._answer(arrival, engine, settings)
        except DeviceError:
            raise
        except PerceptionError as error:
            self._last_error = str(error)
            self._log().warning(f'frame dropped: {error}', throttle_duration_sec=LOG_PERIOD_S)
        except Exception as error:
            # Whatever one frame brings about, the next one is to be answered: this thread is
            # the one place where a bug must not end the node. It stays visible: in the log with
            # its traceback, in the counts and in the level of the diagnostics.
            if self._node.context.ok():
                self._last_error = f'{type(error).__name__}: {error}'
                self._log().error(f'frame dropped: {traceback.format_exc()}',
                                  throttle_duration_sec=LOG_PERIOD_S)
        return Outcome.INVALID

    def _answer(self, arrival: Arrival, engine: Engine, settings: Settings) -> Outcome:
        clock, header = self._node.get_clock(), arrival.message.header
        self._watch_clock(arrival)
        limit_ms = settings.stream.effective_max_age_ms
        age = age_ms(clock, arrival)
        if age > limit_ms:
            self._report_stale(age, limit_ms, 'when its turn came')
            return Outcome.STALE
        start = time.perf_counter()
        frame = Frame(decode(arrival.message), nanoseconds(header.stamp), header.frame_id)
        decoded = time.perf_counter()
        prediction = engine.infer(frame, settings.inference)
        inferred = time.perf_counter()
        times = {'decode': decoded - start, **prediction.stage_seconds}
        if arrival.age_ns is not None:
            times['age_at_arrival'] = arrival.age_ns / 1e9
        answers = self.outputs.answers(header, frame, prediction, settings.stream.class_id_format,
                                       age_ms(clock, arrival))
        ready = age_ms(clock, arrival)
        is_late = ready > settings.stream.max_answer_age_ms
        if is_late:
            self._report_stale(ready, limit_ms, 'when its answer was ready')
        else:
            self.outputs.publish(answers)
            times['publish'] = time.perf_counter() - inferred
        times['end_to_end'] = age_ms(clock, arrival) / 1e3
        self.latencies.add(times)
        return Outcome.STALE if is_late else Outcome.PROCESSED

    def _report_stale(self, age: float, limit_ms: float, when: str) -> None:
        advice = f'the last was {age:.0f} ms old {when}, more than max_age_ms = {limit_ms:.0f}'
        if age > OTHER_CLOCK_MS:
            advice += ('; its stamp is from another clock: for a bag or a simulation set '
                       'use_sim_time:=true, else synchronise the clocks or raise max_age_ms')
        else:
            advice += f'; to have them all the same: ros2 param set {self._fqn} max_age_ms 1000.0'
        self._stale_advice = advice
        self._log().warning(f'frame dropped: {advice}', throttle_duration_sec=LOG_PERIOD_S)

    def _watch_clock(self, arrival: Arrival) -> None:
        if arrival.age_ns is not None:
            return
        note = 'frames carry no time stamp: their age is unknown'
        if arrival.ahead_ns:
            note = (f'stamps are {arrival.ahead_ns / 1e9:.0f} s ahead of this clock: the age of '
                    'the frames is unknown; synchronise the clocks, or in a simulation set '
                    'use_sim_time:=true')
        self._clock_note = note, time.monotonic()
        self._log().warning(f'{self.name}: {note}', throttle_duration_sec=LOG_PERIOD_S)

    # For the diagnostics

    def report(self, counts: FrameCounts, settings: Settings) -> Tuple[Health, Dict[str, Any]]:
        """
        Return what is known of the camera's frames, for the level and as figures.

        :param counts: of the camera's frames
        """
        span_s, recent = self._counts.add(counts)
        samples = self.latencies.read()
        times_ms = percentiles_ms(samples)
        silence = self._watch_silence(settings.stream.image_timeout_s)
        health = Health(
            budget_ms=settings.stream.latency_budget_ms,
            window_s=time.monotonic() - samples[0][0] if samples else 0.0,
            end_to_end_ms=times_ms.get('end_to_end', ()), recent=recent,
            silence=silence, stale_advice=self._stale_advice, last_error=self._last_error,
            notes=() if silence else self._notes())
        return health, {
            'image_topic': self.input.topic if self.input else '',
            'reliability': self.input.reliability if self.input else '',
            'received_hz': recent.received / span_s,
            'processed_hz': recent.processed / span_s,
            **vars(counts),
            'lost_in_transport': self.input.lost if self.input else 0,
            'skipped_in_transport': self.input.skipped if self.input else 0,
            **latency_values(times_ms)}

    def _notes(self) -> List[str]:
        if self.input is None:
            return []
        note, noted_s = self._clock_note
        recently_s = time.monotonic() - WINDOW_S
        return list(filter(None, [
            self.input.mismatch,
            self.input.explain_loss() if self.input.lost_s > recently_s else '',
            note if noted_s > recently_s else '']))

    def _watch_silence(self, timeout_s: float) -> str:
        """Return what is known about images that do not come; log it now and then."""
        silence_s = self.input.silence_s if self.input else 0.0
        if silence_s <= timeout_s:
            if self._logged_silence and self.input:
                self._log().info(f'images arrive on {self.input.topic}')
            self._logged_silence = ''
            return ''
        explanation = self.input.explain_silence()
        report = f'no image for {silence_s:.0f} s: {explanation}'
        is_new = explanation != self._logged_silence
        since_s = time.monotonic() - self._silence_logged_s
        if since_s > (LOG_PERIOD_S if is_new else SILENCE_LOG_PERIOD_S):
            self._log().warning(report)
            self._logged_silence, self._silence_logged_s = explanation, time.monotonic()
        return report

    @property
    def _fqn(self) -> str:
        return self._node.get_fully_qualified_name()

    def _log(self):
        return self._node.get_logger()
