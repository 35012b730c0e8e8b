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
"""What the node says about itself on /diagnostics, and how it judges."""

from collections import deque
from dataclasses import dataclass
import threading
import time
from typing import Callable, Deque, Dict, List, Mapping, Sequence, Tuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from mtl_perception.ros.worker import FrameCounts
import numpy as np

STAGES = ('age_at_arrival', 'decode', 'preprocess', 'inference', 'postprocess', 'publish',
          'end_to_end')
PERCENTILES = (50, 95, 99)
WINDOW_S = 10.0
SUSTAINED_S = 5.0


class LatencyWindow:
    """
    Times of the last seconds, by stage; one thread adds, another reads.

    :param clock: seconds that only go forward
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Start empty."""
        self._clock = clock
        self._lock = threading.Lock()
        self._samples: Deque[Tuple[float, Mapping[str, float]]] = deque()

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add one frame's time in each of ``STAGES``, in seconds."""
        with self._lock:
            self._samples.append((self._clock(), seconds))

    def read(self) -> Tuple[float, Dict[str, Sequence[float]]]:
        """
        Return how long ago the oldest frame of the window was and its times.

        :return: seconds, and for each stage its percentiles ``PERCENTILES`` in ms, empty when
            there was no frame
        """
        with self._lock:
            now = self._clock()
            while self._samples and self._samples[0][0] < now - WINDOW_S:
                self._samples.popleft()
            samples = list(self._samples)
        if not samples:
            return 0.0, {}
        table = np.array([[times[stage] for stage in STAGES] for _, times in samples])
        percentiles = np.percentile(1e3 * table, PERCENTILES, axis=0)
        return now - samples[0][0], dict(zip(STAGES, percentiles.T.tolist()))


class CountWindow:
    """
    How the counts changed in the last seconds.

    :param clock: seconds that only go forward
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Start with nothing counted."""
        self._clock = clock
        self._history: Deque[Tuple[float, FrameCounts]] = deque([(clock(), FrameCounts())])

    def add(self, counts: FrameCounts) -> Tuple[float, FrameCounts]:
        """Add the counts of now; return the window's length in seconds and what came in it."""
        now = self._clock()
        while len(self._history) > 1 and self._history[0][0] < now - WINDOW_S:
            self._history.popleft()
        start, first = self._history[0]
        self._history.append((now, counts))
        return max(now - start, 1e-3), FrameCounts(
            **{name: getattr(counts, name) - getattr(first, name) for name in vars(counts)})


@dataclass(frozen=True)
class Health:
    """
    What the level depends on.

    :param state: of the lifecycle
    :param budget_ms: from a frame's stamp to its predictions
    :param window_s: how long ago the oldest frame of the window was
    :param end_to_end_ms: its percentiles ``PERCENTILES``, empty when there was no frame
    :param recent: counts within the window
    :param silence: what is known about images that do not come; empty when they do
    :param stale_advice: what is known about the latest frame that was too old
    :param last_error: why the latest invalid frame was one
    :param warnings: what the engine could not have
    """

    state: str
    budget_ms: float
    window_s: float = 0.0
    end_to_end_ms: Sequence[float] = ()
    recent: FrameCounts = FrameCounts()
    silence: str = ''
    stale_advice: str = ''
    last_error: str = ''
    warnings: Sequence[str] = ()


def judge(health: Health) -> Tuple[bytes, str]:
    """
    Return level and message.

    WARN: the slowest frames are past the budget, or some are dropped, or the engine is not the
    one asked for. ERROR: that half of the frames are past the budget goes on for
    ``SUSTAINED_S``, or more are dropped than processed, or no images come.
    """
    if health.state != 'active':
        return DiagnosticStatus.OK, health.state
    warn, error = DiagnosticStatus.WARN, DiagnosticStatus.ERROR
    recent = health.recent
    problems: List[Tuple[bytes, str]] = []
    if health.silence:
        problems.append((error, health.silence))
    if health.end_to_end_ms:
        p50, p95, _ = health.end_to_end_ms
        if p50 > health.budget_ms and health.window_s >= SUSTAINED_S:
            problems.append((error, f'end to end p50 {p50:.0f} ms is past the budget of '
                                    f'{health.budget_ms:.0f} ms, sustained'))
        elif p95 > health.budget_ms:
            problems.append((warn, f'end to end p95 {p95:.0f} ms is past the budget of '
                                   f'{health.budget_ms:.0f} ms'))
    for count, advice in ((recent.stale, health.stale_advice),
                          (recent.invalid, health.last_error)):
        if count:
            level = error if count > recent.processed else warn
            problems.append((level, f'{count} of {recent.received} frames dropped: {advice}'))
    problems.extend((warn, text) for text in health.warnings)
    if problems:
        return max(level for level, _ in problems), '; '.join(text for _, text in problems)
    return DiagnosticStatus.OK, 'running' if health.end_to_end_ms else 'waiting for images'


def diagnostic_array(stamp, name: str, hardware_id: str, level: bytes, message: str,
                     values: Mapping[str, object]) -> DiagnosticArray:
    """
    Return the message of one status.

    :param stamp: ``builtin_interfaces`` Time of now
    :param values: figures rounded to what can be read
    """
    status = DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=hardware_id,
        values=[KeyValue(key=key, value=f'{value:.1f}' if isinstance(value, float)
                         else str(value)) for key, value in values.items()])
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array


def latency_values(times_ms: Mapping[str, Sequence[float]]) -> Dict[str, float]:
    """Return ``LatencyWindow.read``'s percentiles under names such as ``decode_p95_ms``."""
    return {f'{stage}_p{percentile}_ms': value for stage in STAGES if stage in times_ms
            for percentile, value in zip(PERCENTILES, times_ms[stage])}
