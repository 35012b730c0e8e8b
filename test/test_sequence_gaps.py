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
"""Gaps in a publisher's numbers are messages that never came."""

import pytest

pytest.importorskip('rclpy')
from mtl_perception.ros.sequence_gaps import SequenceGaps  # noqa: E402, I100 needs ROS


@pytest.mark.parametrize('numbers, missing', [
    ([], 0), ([7], 0), ([7, 8, 9], 0), ([7, 10], 2), ([1, 3, 5], 2),
    ([90, 91, 1, 2], 0),       # the publisher was started again
    ([5, None, 9], 0),         # a middleware that does not number
    ([5, 5, 6], 0)])
def test_missing_numbers(numbers, missing):
    """Those between two that came are counted, whatever the first one was."""
    gaps = SequenceGaps()
    gaps.watch(True)
    for number in numbers:
        gaps.see(number)
    assert gaps.total == missing


def test_several_publishers_tell_nothing():
    """Their numbers have nothing to do with one another."""
    gaps = SequenceGaps()
    gaps.watch(True)
    gaps.see(1)
    gaps.see(3)
    gaps.watch(False)
    for number in (100, 4, 101):
        gaps.see(number)
    gaps.watch(True)
    gaps.see(200)
    gaps.see(202)
    assert gaps.total == 2


def test_another_subscription_begins_anew():
    """What was sent while nobody listened is not missing."""
    gaps = SequenceGaps()
    gaps.watch(True)
    gaps.see(1)
    gaps.forget()
    gaps.see(50)
    assert gaps.total == 0
