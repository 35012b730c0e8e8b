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
"""One slot, one thread: the newest frame is worked on, and every frame is accounted for."""

from dataclasses import dataclass, replace
from enum import Enum
import threading
from typing import Any, Callable, Optional


class Outcome(Enum):
    """What became of a frame whose turn came; the value names its count."""

    PROCESSED = 'processed'
    STALE = 'stale'
    INVALID = 'invalid'


@dataclass(frozen=True)
class FrameCounts:
    """
    Where all frames went; ``received`` is the sum of the others at every moment.

    :param received: frames that came in
    :param processed: frames whose predictions were published
    :param replaced: frames that a newer one, or the end of the work, took the slot from
    :param stale: frames that were too old when their turn came
    :param invalid: frames that are no picture, or that failed
    :param pending: frames in the slot or being worked on, 0 to 2
    """

    received: int = 0
    processed: int = 0
    replaced: int = 0
    stale: int = 0
    invalid: int = 0
    pending: int = 0


class FrameWorker:
    """
    A thread that hands the newest item of a one-slot mailbox to a function.

    Start and stop may alternate as often as needed; the counts go on.

    :param process: called with one item at a time in the worker's thread; must not raise
    """

    def __init__(self, process: Callable[[Any], Outcome]):
        """Prepare; nothing runs before ``start``."""
        self._process = process
        self._changed = threading.Condition()
        self._slot: Optional[Any] = None
        self._counts = FrameCounts()
        self._running = False
        self._thread: Optional[threading.Thread] = None

    @property
    def counts(self) -> FrameCounts:
        """Return the counts of one moment."""
        with self._changed:
            return self._counts

    def start(self) -> None:
        """Start the thread."""
        self._running = True
        self._thread = threading.Thread(target=self._run, name='frame_worker', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the item that is being worked on finish, drop the waiting one, join the thread."""
        if self._thread is None:
            return
        with self._changed:
            self._running = False
            if self._slot is not None:
                self._slot = None
                self._count(replaced=1, pending=-1)
            self._changed.notify()
        self._thread.join()
        self._thread = None

    def put(self, item: Any) -> None:
        """Offer an item; it takes the place of one that still waits."""
        with self._changed:
            if self._slot is None:
                self._count(received=1, pending=1)
            else:
                self._count(received=1, replaced=1)
            self._slot = item
            self._changed.notify()

    def _count(self, **changes: int) -> None:
        self._counts = replace(self._counts, **{
            name: getattr(self._counts, name) + change for name, change in changes.items()})

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slot is not None or not self._running)
                if not self._running:
                    return
                item, self._slot = self._slot, None
            outcome = self._process(item)
            with self._changed:
                self._count(**{outcome.value: 1, 'pending': -1})
