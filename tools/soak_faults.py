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
"""Checks of what dies, stops, fills up or jumps: each with what is expected and what is seen."""

from contextlib import contextmanager
import os
import signal
import sys
import time
from typing import Iterator

import cv2
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from soak_bench import Bench, image_topic, PATIENT, still, Subject
from soak_figures import describe, is_balanced, Row

from node_client import NodeProcess, Process  # noqa: I100 found by soak_bench

CAMERA = 'mtl_perception.ros.camera'
RECORDER = 'mtl_perception.ros.recorder'
CAMERA_HZ = 10.0
TIMEOUT_S = 1.0
# Of the diagnostics, and of noticing.
NOTICE_S = 2.5
RETURN_S = 10.0
STOPPED_S = 1.0
MAX_AGE_MS = 500.0
ROUND_TRIPS = 10
# From the last look at a frame's age to its way out, on a machine with other work.
PUBLISH_MS = 50.0
# Of the time from a frame to its answer: the network runs then.
MIDDLE = 0.4
SMALL_DISK_KB = 2048


@contextmanager
def camera_process(bench: Bench, name: str, rate_hz: float = CAMERA_HZ) -> Iterator[NodeProcess]:
    """Start a camera of its own for the node of that name."""
    picture = bench.folder / 'camera.png'
    if not picture.exists():
        cv2.imwrite(str(picture), np.full((120, 160, 3), 90, np.uint8))
    with NodeProcess(CAMERA, str(picture), '--rate', str(rate_hz), '--ros-args', '-r',
                     f'image:={image_topic(name)}') as process:
        process.wait_for_output('playing')
        yield process


def _seconds_to(bench: Bench, condition, limit_s: float) -> float:
    start = time.monotonic()
    bench.client.wait_until(condition, limit_s, required=False)
    return time.monotonic() - start


def _answers_after(node: Subject, moment_ns: int) -> bool:
    """Tell whether a frame that was taken after a moment is answered."""
    return any(stamp > moment_ns and node.is_answered(stamp)
               for stamp in list(node.heard['classification_scores']))


def camera_killed(bench: Bench, times: int) -> Row:
    """Kill the camera, see that it is missed, bring it back."""
    missed_s, back_s, said = [], [], ''
    with bench.node('bereft', PATIENT, f'image_timeout_s:={TIMEOUT_S}') as node:
        for _ in range(times):
            with camera_process(bench, node.name) as camera:
                moment_ns = time.time_ns()
                back_s.append(_seconds_to(bench, lambda: _answers_after(node, moment_ns),
                                          RETURN_S))
                camera.end(signal.SIGKILL)
            start = time.monotonic()
            level = DiagnosticStatus.OK
            while level != DiagnosticStatus.ERROR and time.monotonic() < start + RETURN_S:
                level, said, _ = bench.client.diagnostics(node.name)
            missed_s.append(time.monotonic() - start)
            bench.tick(1)
        counts = node.counts()
        return Row(
            f'the camera killed (SIGKILL) and started again, {times} times',
            f'an ERROR that says so within image_timeout_s + {NOTICE_S} s; answers again within '
            f'{RETURN_S:.0f} s',
            f'ERROR after {max(missed_s):.1f} s at most: "{said[:60]}..."; answers '
            f'{max(back_s):.1f} s after the return at most; {describe(counts)}',
            max(missed_s) < TIMEOUT_S + NOTICE_S and max(back_s) < RETURN_S
            and 'no image for' in said and is_balanced(counts) and node.is_sound(),
            {'missed_s': missed_s, 'back_s': back_s, 'said': said})


def node_killed(bench: Bench, times: int) -> Row:
    """Kill the node, start it again as ``respawn`` does, while the camera goes on."""
    name = 'mortal'
    back_s = []
    with camera_process(bench, name):
        process = bench.start(name, PATIENT)
        node = Subject(bench.client, name, process)
        try:
            for life in range(times + 1):
                moment_ns = time.time_ns()
                back_s.append(_seconds_to(bench, lambda: _answers_after(node, moment_ns),
                                          3 * RETURN_S))
                if life < times:
                    process.end(signal.SIGKILL)
                    process = bench.start(name, PATIENT)
                    bench.tick(1)
            status, _ = process.end()
        finally:
            node.leave()
            process.__exit__()
    return Row(
        f'the node killed (SIGKILL) and started again, {times} times, while a camera plays',
        f'answers again within {RETURN_S:.0f} s of each start; ends with status 0 when asked to',
        f'answers after {max(back_s):.1f} s at most; status {status}',
        max(back_s) < RETURN_S and status == 0, {'back_s': back_s})


def node_stopped(bench: Bench, times: int) -> Row:
    """Stop the node in the middle of a frame (SIGSTOP), let it go on later (SIGCONT)."""
    message = still()
    late, back_s, took_s = 0, [], []
    with bench.connected('drowsy', f'max_age_ms:={MAX_AGE_MS}') as node:
        for _ in range(ROUND_TRIPS):
            start = time.monotonic()
            node.ask(message)
            took_s.append(time.monotonic() - start)
        for _ in range(times):
            kept = [node.publish(message)]
            time.sleep(MIDDLE * min(took_s))
            os.kill(node.process.pid, signal.SIGSTOP)
            for _ in range(5):
                kept.append(node.publish(message))
                bench.client.spin(STOPPED_S / 10)
            bench.client.spin(STOPPED_S / 2 + MAX_AGE_MS / 1e3)
            early = sum(node.is_answered(stamp) for stamp in kept)
            start = time.monotonic()
            os.kill(node.process.pid, signal.SIGCONT)
            bench.client.spin(0.1)
            while not node.ask(message, 0.5) and time.monotonic() < start + RETURN_S:
                pass
            back_s.append(time.monotonic() - start)
            late += sum(node.is_answered(stamp) for stamp in kept) - early
            bench.tick(1)
        counts = node.counts()
        oldest_ms = max(node.ages_ms)
        return Row(
            f'the node stopped in the middle of a frame (SIGSTOP), {STOPPED_S:.0f} s later '
            f'continued (SIGCONT), {times} times; max_age_ms {MAX_AGE_MS:.0f}',
            'no answer of what came before; none older than max_age_ms when published; new '
            f'frames are answered within {RETURN_S:.0f} s',
            f'{late} old ones answered; the oldest {oldest_ms:.0f} ms; new ones answered after '
            f'{max(back_s):.1f} s at most; {describe(counts)}',
            late == 0 and oldest_ms < MAX_AGE_MS + PUBLISH_MS and max(back_s) < RETURN_S
            and is_balanced(counts) and node.is_sound(),
            {'late': late, 'oldest_ms': oldest_ms, 'back_s': back_s})


def disk_full(bench: Bench, frames: int) -> Row:
    """Let the recorder's disk fill up while the node works."""
    out = bench.folder / 'full'
    with bench.connected('written', PATIENT) as node:
        command = (f'ulimit -f {SMALL_DISK_KB}; exec {sys.executable} -m {RECORDER} '
                   f'--node /{node.name} --image {node.topic} --out {out}')
        silent = 0
        message = still(480, 640)
        with Process(['bash', '-c', command]) as recorder:
            recorder.wait_for_output('recording')
            for _ in range(frames):
                silent += not node.ask(message)
                bench.client.spin(0.05)
                bench.tick(1)
            deadline = time.monotonic() + RETURN_S
            while recorder.is_alive and time.monotonic() < deadline:
                node.ask(message)
            status = None if recorder.is_alive else recorder.wait()
            lines = [line for line in recorder.output.splitlines() if line.startswith('error: ')]
            is_clear = len(lines) == 1 and 'Traceback' not in recorder.output
        kept = sorted(path.name for path in bench.folder.glob('full*'))
        counts = node.counts()
        reason = lines[0].replace(f'{bench.folder}/', '') if lines else 'no line'
        return Row(
            f'the recorder on a disk of {SMALL_DISK_KB / 1024:.0f} MB (RLIMIT_FSIZE), {frames} '
            'frames of 640x480',
            'one line and status 2 from the recorder, what it wrote is kept; every frame is '
            'answered meanwhile',
            f'"{reason}", status {status}, {", ".join(kept)} kept; {silent} frames without '
            f'answer; {describe(counts)}',
            status == 2 and is_clear and kept == ['full_unfinished.mcap'] and not silent
            and counts.processed == counts.received and node.is_sound(),
            {'status': status, 'lines': lines, 'silent': silent})


def clock_jumps(bench: Bench, jumps: int) -> Row:
    """Let simulated time jump to and fro; frames of its now are answered, old ones are not."""
    random = np.random.default_rng(0)
    wrong = answered = 0
    with bench.node('dreaming', 'use_sim_time:=true', f'max_age_ms:={MAX_AGE_MS}') as node:
        clock = bench.client.publisher(Clock, '/clock', QoSProfile(depth=10))
        node.connect()
        message = still()

        def show(seconds: int) -> None:
            for _ in range(3):
                now = Clock()
                now.clock.sec = seconds
                clock.publish(now)
                bench.client.spin(0.05)

        def shoot(seconds: int, number: int) -> int:
            message.header.stamp.sec, message.header.stamp.nanosec = seconds, number
            return node.publish_as_is(message)
        try:
            show(1000)
            assert node.wait_for(shoot(1000, 1)), 'no answer in simulated time'
            node.count_from_here()
            for number in range(jumps):
                now = int(random.integers(100, 1_000_000))
                show(now)
                old = shoot(now - 1, number)
                bench.client.spin(0.15)
                wrong += node.is_answered(old)
                answered += node.wait_for(shoot(now, number))
                bench.tick(1)
            counts = node.counts()
        finally:
            bench.client.remove(clock)
        return Row(
            f'simulated time (use_sim_time, /clock) set anew {jumps} times, days forward and '
            'back; each time a frame of now and one that is 1 s old',
            'the one of now is answered, the old one is not; the account is exact',
            f'{answered} of now and {wrong} old ones answered; {describe(counts)}',
            answered == jumps == counts.processed == counts.stale and wrong == 0
            and is_balanced(counts) and node.is_sound(),
            {'jumps': jumps, 'counts': vars(counts)})
