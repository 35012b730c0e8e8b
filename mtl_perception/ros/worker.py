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
"""One thread, one slot a camera: the newest frames are worked on, every frame is accounted for."""

from dataclasses import dataclass, fields
from enum import Enum
import threading
import time
from typing import Any, Callable, Dict, Optional

# From a frame's arrival to the network's run, which needs no interpreter.
HEAD_START_S = 0.001
# For a frame that came alone; a slower engine's next frames must not wait for it.
REST_S = 0.01


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
    :param stale: frames that were too old when their turn came or when they were answered
    :param invalid: frames that are no picture, or that failed
    :param pending: frames in the slot or being worked on, 0 to 2 of a camera
    """

    received: int = 0
    processed: int = 0
    replaced: int = 0
    stale: int = 0
    invalid: int = 0
    pending: int = 0

    def __add__(self, other: 'FrameCounts') -> 'FrameCounts':
        """Return the sums."""
        return FrameCounts(*(getattr(self, item.name) + getattr(other, item.name)
                             for item in fields(self)))

    def __sub__(self, other: 'FrameCounts') -> 'FrameCounts':
        """Return the differences."""
        return FrameCounts(*(getattr(self, item.name) - getattr(other, item.name)
                             for item in fields(self)))


class FrameWorker:
    """
    A thread that hands each camera's newest frame to a function, the cameras in turn.

    Start and stop may alternate as often as needed; the counts go on.

    :param process: called with a camera's name and one frame at a time in the worker's thread;
        must not raise
    """

    def __init__(self, process: Callable[[str, Any], Outcome]):
        """Prepare; nothing runs before ``start``."""
        self._process = process
        self._changed = threading.Condition()
        # In the order in which the slots were filled; a newer frame keeps its camera's place, so
        # that however fast one camera is, the others' turns come.
        self._slots: Dict[str, Any] = {}
        self._counts: Dict[str, FrameCounts] = {}
        self._running = False
        self._at_work = False
        self._idle_since_s = 0.0
        self._thread: Optional[threading.Thread] = None

    @property
    def counts(self) -> Dict[str, FrameCounts]:
        """Return the counts of one moment, by camera."""
        with self._changed:
            return dict(self._counts)

    def start(self) -> None:
        """Start the thread."""
        self._running = True
        self._thread = threading.Thread(target=self._run, name='frame_worker', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the frame that is being worked on finish, drop the waiting ones, join the thread."""
        if self._thread is None:
            return
        with self._changed:
            self._running = False
            for camera in self._slots:
                self._count(camera, FrameCounts(replaced=1, pending=-1))
            self._slots.clear()
            self._changed.notify_all()
        self._thread.join()
        self._thread = None

    def put(self, camera: str, frame: Any) -> None:
        """
        Offer a camera's frame; it takes the place of one that still waits.

        Where the thread has nothing else to do, the caller rests for a millisecond, or until the
        frame is done if none was before it for as long: what the caller does next would compete
        with the frame for the interpreter and a core.
        """
        with self._changed:
            takes_it_now = self._running and not self._at_work
            if camera in self._slots:
                self._count(camera, FrameCounts(received=1, replaced=1))
            else:
                self._count(camera, FrameCounts(received=1, pending=1))
            self._slots[camera] = frame
            self._changed.notify_all()
            if takes_it_now:
                idle_s = time.monotonic() - self._idle_since_s
                self._changed.wait_for(lambda: not self._slots and not self._at_work,
                                       REST_S if idle_s > HEAD_START_S else HEAD_START_S)

    def _count(self, camera: str, change: FrameCounts) -> None:
        self._counts[camera] = self._counts.get(camera, FrameCounts()) + change

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slots or not self._running)
                if not self._running:
                    return
                camera = next(iter(self._slots))
                frame = self._slots.pop(camera)
                self._at_work = True
            outcome = self._process(camera, frame)
            del frame  # a picture of many megabytes would stay until the next one comes
            with self._changed:
                self._count(camera, FrameCounts(**{outcome.value: 1, 'pending': -1}))
                self._at_work = False
                self._idle_since_s = time.monotonic()
                self._changed.notify_all()
