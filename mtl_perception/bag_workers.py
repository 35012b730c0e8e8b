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
"""
The parts of a bag, done one after the other here or by several processes.

A process takes the next part that nobody has, and appends what comes of it to the new bag when
all parts before that are in it. Until then it keeps it and goes on, so none waits for another.
"""

from collections import deque
from contextlib import closing
import multiprocessing
from multiprocessing import forkserver
from multiprocessing.connection import wait
import os
import signal
import time
from typing import Any, Callable, Deque, Iterable, Tuple

import cv2
from mtl_perception.bag_prediction import BagCount, BagJob, PartPredictor, UnfinishedError
from mtl_perception.errors import PerceptionError
from mtl_perception.worker_process import end_with_parent

PROGRESS_S = 0.2
TURN_S = 0.01
KEPT = 3
PRELOAD = 'mtl_perception.bag_worker_imports'

# Of glibc: to keep the memory of a picture for the next one, or the kernel clears all of it for
# each, which takes a tenth of a worker's time.
KEEP_MEMORY = {'MALLOC_MMAP_THRESHOLD_': str(2**30), 'MALLOC_TRIM_THRESHOLD_': str(2**30)}

Append = Callable[[bytes, BagCount], None]


class _Stopped(Exception):
    """Nobody waits for these parts any more."""


class _Shared:
    """
    What the processes share.

    :param context: of multiprocessing
    :param parts: to do
    """

    def __init__(self, context: Any, parts: range):
        self.done = context.Value('q', 0)
        self.stop = context.Event()
        self.errors = context.SimpleQueue()
        self._left = context.Value('q', parts.start)
        self._turn = context.Value('q', parts.start)
        self._end = parts.stop

    def parts(self) -> Iterable[int]:
        """Yield parts that no other process has."""
        while True:
            with self._left.get_lock():
                part = self._left.value
                self._left.value += 1
            if part >= self._end:
                return
            yield part

    def on_frame(self) -> None:
        """Count a picture."""
        if self.stop.is_set():
            raise _Stopped
        with self.done.get_lock():
            self.done.value += 1

    def is_turn(self, part: int) -> bool:
        """Tell whether all parts before this one are in the bag."""
        return self._turn.value == part

    def wait_for_turn(self, part: int) -> None:
        """Return when they are."""
        while not self.is_turn(part):
            if self.stop.is_set():
                raise _Stopped
            time.sleep(TURN_S)

    def end_turn(self) -> None:
        """Let the next part go in."""
        self._turn.value += 1


def _work(job: BagJob, append: Append, shared: _Shared) -> None:
    """Do parts until there are no more; the main function of a process."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells
    cv2.setNumThreads(1)
    kept: Deque[Tuple[int, bytes, BagCount]] = deque()

    def append_kept(at_most: int) -> None:
        while kept and (len(kept) > at_most or shared.is_turn(kept[0][0])):
            part, records, count = kept.popleft()
            shared.wait_for_turn(part)
            append(records, count)
            shared.end_turn()
    try:
        with closing(PartPredictor(job)) as predictor:
            for part in shared.parts():
                kept.append((part, *predictor.predict(part, shared.on_frame)))
                append_kept(KEPT)
        append_kept(0)
    except _Stopped:
        pass
    except (PerceptionError, OSError) as error:
        shared.errors.put(error)


def prepare_processes() -> None:
    """Import what workers need in a process that they are forked from, while others go on here."""
    before = dict(os.environ)
    os.environ.update(KEEP_MEMORY)
    try:
        # A parent with threads is not forked itself.
        forkserver.set_forkserver_preload([PRELOAD])
        forkserver.ensure_running()
    finally:
        for name in KEEP_MEMORY:
            del os.environ[name]
        os.environ.update(before)


def predict_parts(job: BagJob, parts: range, workers: int, append: Append,
                  on_frames: Callable[[int], None]) -> None:
    """
    Do parts and append each to the new bag, in their order.

    :param workers: processes; with 1 it is this one
    :param append: called with the records of each part and what was done for it
    :param on_frames: called with the number of pictures done so far, now and then
    :raises UnfinishedError: if a worker was killed
    :raises OSError: if a part cannot be written
    :raises PerceptionError: if bag, weights or engine cannot be had
    """
    if workers > 1:
        _in_processes(job, parts, workers, append, on_frames)
        return
    done = 0

    def on_frame() -> None:
        nonlocal done
        done += 1
        on_frames(done)
    with closing(PartPredictor(job)) as predictor:
        for part in parts:
            append(*predictor.predict(part, on_frame))


def _in_processes(job: BagJob, parts: range, workers: int, append: Append,
                  on_frames: Callable[[int], None]) -> None:
    prepare_processes()
    context = multiprocessing.get_context('forkserver')
    shared = _Shared(context, parts)
    processes = [context.Process(target=_work, args=(job, append, shared), daemon=True)
                 for _ in range(workers)]
    try:
        for process in processes:
            process.start()
        running = {process.sentinel for process in processes}
        while running:
            running -= set(wait(running, PROGRESS_S))
            on_frames(shared.done.value)
            if not shared.errors.empty():
                raise shared.errors.get()
            if any(process.exitcode for process in processes):
                raise UnfinishedError('expected all workers to live, got one that was ended (out '
                                      'of memory?); try fewer --workers')
    finally:
        shared.stop.set()
        for process in processes:
            if process.pid is not None:
                process.join()
