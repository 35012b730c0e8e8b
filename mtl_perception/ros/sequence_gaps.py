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
"""What the numbers that a publisher gives its messages tell of those that never came."""

from typing import Optional


class SequenceGaps:
    """Count the numbers that one publisher gave to messages which never came."""

    def __init__(self):
        """Begin with the next number."""
        self.total = 0
        self._last: Optional[int] = None
        self._is_sole: Optional[bool] = None

    def forget(self) -> None:
        """Begin anew with the next number."""
        self._last = None

    def watch(self, is_sole: bool) -> None:
        """Say whether all numbers are one publisher's; those of several tell nothing."""
        if is_sole != self._is_sole and self._is_sole is not None:
            self._last = None
        self._is_sole = is_sole

    def see(self, number: Optional[int]) -> None:
        """Count what is missing between the last number and this one; None tells nothing."""
        # A publisher that starts again starts at 1.
        if None not in (number, self._last) and self._is_sole and number > self._last:
            self.total += number - self._last - 1
        self._last = number
