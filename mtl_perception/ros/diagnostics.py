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
from typing import Callable, Deque, Dict, Iterable, List, Mapping, Sequence, Tuple

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from mtl_perception.ros.worker import FrameCounts
import numpy as np

STAGES = ('age_at_arrival', 'decode', 'preprocess', 'inference', 'postprocess', 'publish',
          'end_to_end')
PERCENTILES = (50, 95, 99)
WINDOW_S = 10.0
SUSTAINED_S = 5.0


# When and how long each stage took, in seconds; a stage that is not known is left out.
Sample = Tuple[float, Mapping[str, float]]
# A level and what it is about.
Problem = Tuple[bytes, str]


class LatencyWindow:
    """
    Times of the last seconds, by stage; one thread adds, another reads.

    :param clock: seconds that only go forward
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Start empty."""
        self._clock = clock
        self._lock = threading.Lock()
        self._samples: Deque[Sample] = deque()

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add one frame's time in those of ``STAGES`` that it went through, in seconds."""
        with self._lock:
            self._samples.append((self._clock(), seconds))
            self._forget()

    def read(self) -> List[Sample]:
        """Return the frames of the window, the oldest first."""
        with self._lock:
            self._forget()
            return list(self._samples)

    def _forget(self) -> None:
        while self._samples and self._samples[0][0] < self._clock() - WINDOW_S:
            self._samples.popleft()


def percentiles_ms(samples: Iterable[Sample]) -> Dict[str, List[float]]:
    """Return the ``PERCENTILES`` of each stage that at least one frame went through, in ms."""
    times: Dict[str, List[float]] = {}
    for _, seconds in samples:
        for stage, value in seconds.items():
            times.setdefault(stage, []).append(1e3 * value)
    return {stage: np.percentile(times[stage], PERCENTILES).tolist()
            for stage in STAGES if stage in times}


class CountWindow:
    """
    How the counts changed in the last seconds.

    :param first: what is counted already
    :param clock: seconds that only go forward
    """

    def __init__(self, first: FrameCounts = FrameCounts(),
                 clock: Callable[[], float] = time.monotonic):
        """Start with nothing that came since."""
        self._clock = clock
        self._history: Deque[Tuple[float, FrameCounts]] = deque([(clock(), first)])

    def add(self, counts: FrameCounts) -> Tuple[float, FrameCounts]:
        """Add the counts of now; return the window's length in seconds and what came in it."""
        now = self._clock()
        while len(self._history) > 1 and self._history[0][0] < now - WINDOW_S:
            self._history.popleft()
        start, first = self._history[0]
        self._history.append((now, counts))
        return max(now - start, 1e-3), counts - first


@dataclass(frozen=True)
class Health:
    """
    What is known of one camera's frames.

    :param budget_ms: from a frame's stamp to its predictions
    :param window_s: how long ago the oldest frame of the window was
    :param end_to_end_ms: its percentiles ``PERCENTILES``, empty when there was no frame
    :param recent: counts within the window
    :param silence: what is known about images that do not come; empty when they do
    :param stale_advice: what is known about the latest frame that was too old
    :param last_error: why the latest invalid frame was one
    :param notes: what else an operator should know
    """

    budget_ms: float
    window_s: float = 0.0
    end_to_end_ms: Sequence[float] = ()
    recent: FrameCounts = FrameCounts()
    silence: str = ''
    stale_advice: str = ''
    last_error: str = ''
    notes: Sequence[str] = ()


def find_problems(health: Health) -> List[Problem]:
    """
    Return all that is wrong.

    WARN: the slowest frames are past the budget, or some are dropped, or there is a note. ERROR:
    that half of the frames are past the budget goes on for ``SUSTAINED_S``, or more are dropped
    than processed, or no images come.
    """
    warn, error = DiagnosticStatus.WARN, DiagnosticStatus.ERROR
    recent = health.recent
    problems: List[Problem] = []
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
    return problems + [(warn, note) for note in health.notes]


def verdict(problems: Sequence[Problem], otherwise: str) -> Problem:
    """Return the worst level and every problem; OK and ``otherwise`` where there is none."""
    if not problems:
        return DiagnosticStatus.OK, otherwise
    return max(level for level, _ in problems), '; '.join(text for _, text in problems)


def status_message(name: str, hardware_id: str, finding: Problem,
                   values: Mapping[str, object]) -> DiagnosticStatus:
    """
    Return the message of one status.

    :param finding: level and message
    :param values: figures rounded to what can be read
    """
    level, message = finding
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=hardware_id,
        values=[KeyValue(key=key, value=f'{value:.1f}' if isinstance(value, float)
                         else str(value)) for key, value in values.items()])


def latency_values(times_ms: Mapping[str, Sequence[float]]) -> Dict[str, float]:
    """Return ``percentiles_ms`` under names such as ``decode_p95_ms``."""
    return {f'{stage}_p{percentile}_ms': value for stage in STAGES if stage in times_ms
            for percentile, value in zip(PERCENTILES, times_ms[stage])}
