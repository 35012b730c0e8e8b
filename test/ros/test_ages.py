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
"""How old frames are, whatever the clocks do."""

from types import SimpleNamespace

from mtl_perception.ros.ages import age_ms, note_arrival
import pytest

SECOND = 10**9
NOW_S = 1_000_000


class Clock:
    """A node's clock that is set by hand."""

    def __init__(self, simulated=False):
        """Start somewhere."""
        self.nanoseconds = NOW_S * SECOND
        self.ros_time_is_active = simulated

    def now(self):
        """Return the time."""
        return SimpleNamespace(nanoseconds=self.nanoseconds)


def frame(age_s):
    """Return a message whose stamp is that long before ``NOW_S``."""
    stamp_ns = round((NOW_S - age_s) * SECOND)
    return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(
        sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)))


@pytest.mark.parametrize('age_s, known', [
    (0.0, 0.0), (0.25, 0.25), (3600.0, 3600.0),
    (-0.25, 0.0),  # two clocks that are kept in step
    (-3600.0, None), (NOW_S, None), (NOW_S + 1, None)])
def test_the_age_at_arrival(age_s, known):
    """A stamp of 0, below or far ahead says nothing."""
    arrival = note_arrival(Clock(), frame(age_s))
    assert arrival.age_ns == (None if known is None else known * SECOND)
    assert arrival.ahead_ns == max(0.0, -age_s) * SECOND


@pytest.mark.parametrize('jump_s', [-3600, 3600])
def test_a_system_clock_that_is_set_makes_no_frame_old_or_young(jump_s):
    """What passes after the arrival is measured with a clock that nobody sets."""
    clock = Clock()
    arrival = note_arrival(clock, frame(0.25))
    clock.nanoseconds += jump_s * SECOND
    assert 250.0 <= age_ms(clock, arrival) < 1250.0


def test_simulated_time_is_what_counts_in_a_simulation():
    """It may run at any speed, stand still, and start again."""
    clock = Clock(simulated=True)
    arrival = note_arrival(clock, frame(0.25))
    assert age_ms(clock, arrival) == 250.0
    clock.nanoseconds += 10 * SECOND
    assert age_ms(clock, arrival) == 10_250.0
    clock.nanoseconds -= 3600 * SECOND
    assert age_ms(clock, arrival) == 250.0


def test_a_frame_without_stamp_ages_from_its_arrival():
    """Its true age is unknown, but it does not wait for ever either."""
    clock = Clock(simulated=True)
    arrival = note_arrival(clock, frame(NOW_S))
    clock.nanoseconds += SECOND
    assert age_ms(clock, arrival) == 1000.0
