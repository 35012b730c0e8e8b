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
"""How old a frame is, whatever its camera's clock or this machine's does."""

from dataclasses import dataclass
import time
from typing import Any, Optional

# Clocks of two machines that are kept in step differ by less.
OTHER_CLOCK_NS = 10**9


@dataclass(frozen=True)
class Arrival:
    """
    A message and when it came.

    :param message: Image or CompressedImage
    :param age_ns: by the node's clock, 0 or more; None where the stamp does not tell: it is 0, or
        so far ahead that it is of another clock
    :param ahead_ns: how far the stamp is ahead of the node's clock, 0 where it is not
    :param clock_ns: of the node's clock, which may jump
    :param steady_ns: of a clock that does not
    """

    message: Any
    age_ns: Optional[int]
    ahead_ns: int
    clock_ns: int
    steady_ns: int


def nanoseconds(stamp) -> int:
    """Return a ``builtin_interfaces`` Time as one number."""
    return stamp.sec * 10**9 + stamp.nanosec


def note_arrival(clock, message: Any) -> Arrival:
    """
    Return the message with the time of now.

    :param clock: of the node
    """
    now_ns, stamp_ns = clock.now().nanoseconds, nanoseconds(message.header.stamp)
    ahead_ns = max(0, stamp_ns - now_ns)
    is_known = stamp_ns > 0 and ahead_ns < OTHER_CLOCK_NS
    return Arrival(message, max(0, now_ns - stamp_ns) if is_known else None, ahead_ns, now_ns,
                   time.monotonic_ns())


def age_ms(clock, arrival: Arrival) -> float:
    """
    Return how old the frame is now, counted from its arrival where its stamp does not tell.

    What passed since the arrival is simulated time where the node follows a simulation, else
    steady time: a system clock that is set meanwhile makes no frame old or young.

    :param clock: of the node
    """
    if clock.ros_time_is_active:
        since_ns = max(0, clock.now().nanoseconds - arrival.clock_ns)
    else:
        since_ns = time.monotonic_ns() - arrival.steady_ns
    return ((arrival.age_ns or 0) + since_ns) / 1e6
