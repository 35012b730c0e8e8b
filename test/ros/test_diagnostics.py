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
"""What is measured, and how it is judged."""

from diagnostic_msgs.msg import DiagnosticStatus
from mtl_perception.ros.diagnostics import (
    CountWindow, find_problems, Health, latency_values, LatencyWindow, percentiles_ms, STAGES,
    status_message, verdict, WINDOW_S)
from mtl_perception.ros.worker import FrameCounts
import pytest

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
BUSY = FrameCounts(received=100, processed=100)


class Clock:
    """Seconds that go when told to."""

    def __init__(self):
        """Start somewhere."""
        self.now = 1000.0

    def __call__(self):
        """Return the time."""
        return self.now


def health(**changes):
    """Return the state of a camera whose frames are answered well, with changes."""
    return Health(**{'budget_ms': 150.0, 'window_s': 10.0,
                     'end_to_end_ms': (50.0, 80.0, 90.0), 'recent': BUSY, **changes})


@pytest.mark.parametrize('state, level, said', [
    (health(), OK, 'running'),
    (health(end_to_end_ms=(), recent=FrameCounts()), OK, 'running'),
    (health(end_to_end_ms=(50.0, 151.0, 160.0)), WARN, 'p95 151 ms is past the budget of 150 ms'),
    (health(end_to_end_ms=(151.0, 160.0, 170.0), window_s=1.0), WARN, 'p95 160 ms'),
    (health(end_to_end_ms=(151.0, 160.0, 170.0)), ERROR, 'sustained'),
    (health(silence='no image for 3 s'), ERROR, 'no image for 3 s'),
    (health(recent=FrameCounts(received=100, processed=99, stale=1), stale_advice='too old'),
     WARN, '1 of 100 frames dropped: too old'),
    (health(recent=FrameCounts(received=100, processed=1, stale=99), stale_advice='too old'),
     ERROR, '99 of 100'),
    (health(recent=FrameCounts(received=3, processed=2, invalid=1), last_error='no step'),
     WARN, '1 of 3 frames dropped: no step'),
    (health(recent=FrameCounts(received=1, invalid=1), last_error='no step'), ERROR, 'no step'),
    (health(notes=('no time stamp',)), WARN, 'no time stamp'),
    (health(notes=('no time stamp',), silence='no image'), ERROR,
     'no image; no time stamp')])
def test_the_level_follows_the_worst(state, level, said):
    """The message names every problem."""
    found, message = verdict(find_problems(state), 'running')
    assert found == level and said in message


def test_percentiles_forget_what_is_long_ago():
    """Only the last seconds count."""
    clock = Clock()
    window = LatencyWindow(clock)
    assert window.read() == [] and percentiles_ms([]) == {}
    window.add(dict.fromkeys(STAGES, 9.0))
    clock.now += WINDOW_S - 1.0
    for milliseconds in range(101):
        window.add(dict.fromkeys(STAGES, milliseconds / 1e3))
    clock.now += 2.0
    assert len(window.read()) == 101
    assert percentiles_ms(window.read())['decode'] == pytest.approx([50.0, 95.0, 99.0])
    clock.now += WINDOW_S
    assert window.read() == []


def test_a_window_that_nobody_reads_stays_small():
    """Memory is that of the window, not of the node's life."""
    clock = Clock()
    window = LatencyWindow(clock)
    for _ in range(1000):
        clock.now += 1.0
        window.add({'decode': 0.1})
    assert len(window.read()) == WINDOW_S + 1


def test_what_is_not_known_has_no_percentiles():
    """A frame without a stamp has no age, its other times count."""
    samples = [(0.0, {'decode': 0.001}), (1.0, {'decode': 0.003, 'age_at_arrival': 0.5})]
    times_ms = percentiles_ms(samples)
    assert times_ms['age_at_arrival'] == [500.0] * 3
    assert times_ms['decode'][0] == pytest.approx(2.0)
    assert 'publish' not in times_ms


def test_rates_are_those_of_the_last_seconds():
    """What was counted before the window is not in it."""
    clock = Clock()
    window = CountWindow(FrameCounts(received=7), clock)
    received = 7
    for second in range(30):
        clock.now += 1.0
        received += 1 if second < 15 else 20
        span_s, recent = window.add(FrameCounts(received=received, pending=1))
    assert recent.received / span_s == pytest.approx(20.0)
    assert recent.pending == 0


def test_the_message_can_be_read_by_people_and_programs():
    """Keys name unit and percentile."""
    values = latency_values({stage: (1.0, 2.0, 3.26) for stage in STAGES})
    assert len(values) == 3 * len(STAGES) and values['end_to_end_p99_ms'] == 3.26
    status = status_message(
        'perception: pipeline', 'cpu', (WARN, 'slow'), {**values, 'n': 7})
    assert (status.level, status.hardware_id, status.message) == (WARN, 'cpu', 'slow')
    assert {item.key: item.value for item in status.values}['end_to_end_p99_ms'] == '3.3'
    assert {item.key: item.value for item in status.values}['n'] == '7'
