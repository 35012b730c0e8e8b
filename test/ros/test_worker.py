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
"""No frame is lost from the accounts, whatever the two threads do."""

from dataclasses import fields
import itertools
import threading
import time

from mtl_perception.ros import worker as worker_module
from mtl_perception.ros.worker import FrameCounts, FrameWorker, Outcome
import pytest
from waiting import wait_for


CAMERA = 'image'
TIMEOUT_S = 5.0


def total(counts):
    """Return what became of all frames."""
    return sum(getattr(counts, item.name) for item in fields(counts)) - counts.received


class Gate:
    """A function for the worker that waits to be let through, one item at a time."""

    def __init__(self):
        """Start closed."""
        self.seen = []
        self._entered = threading.Semaphore(0)
        self._opened = threading.Semaphore(0)

    def __call__(self, camera, item):
        """Note the item and wait."""
        self.seen.append(item)
        self._entered.release()
        self._opened.acquire()
        return Outcome.PROCESSED

    def wait_for_item(self):
        """Return once an item is being worked on."""
        assert self._entered.acquire(timeout=5.0)

    def let_through(self):
        """Let one item through."""
        self._opened.release()


@pytest.fixture
def gate():
    """Return a closed gate."""
    return Gate()


@pytest.fixture
def worker(gate):
    """Return a worker behind the gate."""
    running = FrameWorker(gate)
    running.start()
    yield running
    for _ in range(10):
        gate.let_through()
    running.stop()


def test_the_newest_frame_takes_the_slot(worker, gate):
    """What waits is replaced, what is being worked on is not."""
    worker.put(CAMERA, 'first')
    gate.wait_for_item()
    for item in ('second', 'third', 'fourth'):
        worker.put(CAMERA, item)
    assert worker.counts[CAMERA] == FrameCounts(received=4, replaced=2, pending=2)
    gate.let_through()
    gate.wait_for_item()
    gate.let_through()
    wait_for(lambda: worker.counts[CAMERA].processed == 2, 'two answers', TIMEOUT_S)
    assert gate.seen == ['first', 'fourth']
    assert worker.counts[CAMERA] == FrameCounts(received=4, processed=2, replaced=2)


def test_who_offers_a_lone_frame_rests_until_it_is_done_but_not_for_long(
        worker, gate, monkeypatch):
    """A service waits for a short frame, not for a long one."""
    monkeypatch.setattr(worker_module, 'REST_S', TIMEOUT_S)
    gate.let_through()
    worker.put(CAMERA, 'short')
    assert worker.counts[CAMERA] == FrameCounts(received=1, processed=1)
    monkeypatch.undo()
    time.sleep(0.01)
    worker.put(CAMERA, 'long')
    assert worker.counts[CAMERA] == FrameCounts(received=2, processed=1, pending=1)


def test_stop_finishes_one_frame_and_drops_the_waiting_one(worker, gate):
    """After stop nothing is worked on any more, and the work can be taken up again."""
    worker.put(CAMERA, 'first')
    gate.wait_for_item()
    worker.put(CAMERA, 'second')
    gate.let_through()
    gate.let_through()
    worker.stop()
    counts = worker.counts[CAMERA]
    assert total(counts) == counts.received == 2 and counts.pending == 0
    worker.put(CAMERA, 'while stopped')
    worker.start()
    gate.wait_for_item()
    gate.let_through()
    wait_for(lambda: worker.counts[CAMERA].pending == 0, 'nothing pending', TIMEOUT_S)
    assert gate.seen[-1] == 'while stopped'


def test_stop_without_start_and_twice():
    """The end may come at any time."""
    worker = FrameWorker(lambda camera, item: Outcome.STALE)
    worker.stop()
    worker.start()
    worker.stop()
    worker.stop()
    assert worker.counts == {}


def test_the_accounts_balance_at_every_moment():
    """Received is the sum of the ends, seen from outside while frames pour in."""
    outcomes = itertools.cycle(Outcome)
    worker = FrameWorker(lambda camera, item: next(outcomes))
    worker.start()
    for item in range(3000):
        worker.put(CAMERA, item)
        if item % 30 == 0:
            time.sleep(0.0005)  # the other thread's turn
        counts = worker.counts[CAMERA]
        assert counts.received == item + 1 == total(counts)
        assert 0 <= counts.pending <= 2
    worker.stop()
    counts = worker.counts[CAMERA]
    assert counts.received == total(counts) == 3000 and counts.pending == 0
    assert counts.processed and counts.stale and counts.invalid


def test_a_fast_camera_leaves_the_others_their_turns(worker, gate):
    """Cameras are served in the order in which their slots were filled."""
    worker.put('fast', 'fast 0')
    gate.wait_for_item()
    worker.put('fast', 'fast 1')
    worker.put('slow', 'slow 0')
    for number in range(2, 6):
        worker.put('fast', f'fast {number}')
    for number in range(3):
        gate.let_through()
        gate.wait_for_item()
        worker.put('fast', f'fast {number + 6}')
        worker.put('slow', f'slow {number + 1}')
    gate.let_through()
    wait_for(lambda: worker.counts['slow'].processed + worker.counts['fast'].processed >= 4,
             'four answers', TIMEOUT_S)
    assert gate.seen[:4] == ['fast 0', 'fast 5', 'slow 1', 'fast 7']
    assert all(counts.received == total(counts) for counts in worker.counts.values())


def test_counts_of_several_cameras_add_up():
    """The sum of the cameras' accounts is an account."""
    first = FrameCounts(received=5, processed=3, stale=1, pending=1)
    second = FrameCounts(received=2, replaced=1, invalid=1)
    assert first + second == FrameCounts(7, 3, 1, 1, 1, 1)
    assert first + second - second == first
