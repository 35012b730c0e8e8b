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
"""More frames than the machine can answer: newest first, nothing old, nobody kept waiting."""

from contextlib import contextmanager
from pathlib import Path
import sys
import time

import cv2
from node_client import NodeProcess, perception, Process, STAMPED
import numpy as np
import pytest

NODE = 'busy'
ENDS = ('processed', 'replaced', 'stale', 'invalid', 'pending')
CAMERA_HZ = 120
MAX_AGE_MS = 100.0
# What the test's own subscription adds to an age, on a machine that is overloaded on purpose.
ON_THE_WAY_MS = 150.0
BURST = 300
SMALL = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def flood(tmp_path):
    """Return a camera of 120 Hz in a process of its own."""
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'one.png'), noise)
    with NodeProcess('mtl_perception.ros.camera', str(tmp_path),
                     '--rate', str(CAMERA_HZ)) as process:
        process.wait_for_output('playing')
        yield process


def resident_mb(pid):
    """Return the resident memory of a process."""
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * 4096 / 2**20


def age_ms(message):
    """Return how long ago a message's picture was taken."""
    stamp = message.header.stamp
    return 1e3 * (time.time() - stamp.sec - stamp.nanosec / 1e9)


def test_a_camera_of_120_hz(client, checkpoint_name, flood):
    """Answers go on, young ones only, in flat memory, and services answer meanwhile."""
    with perception(f'checkpoint:={checkpoint_name}', f'max_age_ms:={MAX_AGE_MS}',
                    node=NODE) as process:
        process.wait_for_output('listening')
        client.listen(NODE)
        client.wait_until(lambda: len(client.received['detections']) > 20)
        before_mb = resident_mb(process.pid)
        client.received.clear()
        ages = []
        start = time.monotonic()
        while time.monotonic() - start < 6.0:
            client.wait_until(lambda: client.received['classification_scores'])
            ages += [age_ms(message) for message in client.received.pop('classification_scores')]
        assert max(ages) < MAX_AGE_MS + ON_THE_WAY_MS
        assert np.median(ages) < MAX_AGE_MS
        _, _, values = client.diagnostics(NODE)
        assert int(values['received']) == sum(int(values[name]) for name in ENDS)
        # The engine's rate, or the camera's where the machine keeps up with it.
        work_ms = sum(float(values[f'{stage}_p50_ms']) for stage in (
            'decode', 'preprocess', 'inference', 'postprocess', 'publish'))
        assert float(values['processed_hz']) > 0.5 * min(CAMERA_HZ, 1e3 / work_ms)
        assert max(client.response_times(NODE, 20)) < 0.2
        assert resident_mb(process.pid) - before_mb < 5.0


@contextmanager
def slow_node(client, checkpoint_name, *parameters):
    """Run the node on a back end of over 500 ms a frame; yield a camera that has sent it five."""
    arguments = ['--ros-args', '-r', f'__node:={NODE}']
    for parameter in (f'checkpoint:={checkpoint_name}', *parameters):
        arguments += ['-p', parameter]
    odd_node = str(Path(__file__).with_name('odd_node.py'))
    with Process([sys.executable, odd_node, 'slow', *arguments]) as process:
        process.wait_for_output('listening')
        client.listen(NODE)
        camera = client.camera()
        client.spin(1.5)  # the subscription follows the camera's reliability
        for _ in range(5):
            client.publish(camera, SMALL)
            client.spin(0.8)
        yield camera
        client.remove(camera)


def test_every_frame_of_a_burst_is_in_a_count(client, checkpoint_name):
    """What a burst overwrites inside the middleware is counted too."""
    with perception(f'checkpoint:={checkpoint_name}', node=NODE) as process:
        process.wait_for_output('listening')
        client.listen(NODE)
        camera = client.camera()
        client.warm_up(camera)
        client.spin(1.0)  # the subscription follows the camera's reliability
        client.ask(camera, SMALL)
        before = client.diagnostics(NODE)[2]
        for _ in range(BURST):
            client.publish(camera, SMALL)
        client.ask(camera, SMALL)
        after = client.diagnostics(NODE)[2]
        counted = sum(int(after[name]) - int(before[name]) for name in (
            'received', 'lost_in_transport', 'skipped_in_transport'))
        assert counted == BURST + 1
        client.remove(camera)


def test_what_became_too_old_on_the_way_is_not_published(client, checkpoint_name):
    """An answer that is older than ``max_age_ms`` when it is ready is counted as stale."""
    with slow_node(client, checkpoint_name, 'max_age_ms:=400.0') as camera:
        _, text, values = client.diagnostics(NODE)
        assert int(values['stale']) >= 1 and values['processed'] == '0'
        assert 'when its answer was ready' in text and 'max_age_ms 1000.0' in text
        assert float(values['end_to_end_p50_ms']) > 400.0
        assert not any(client.received[name] for name in STAMPED)
        assert client.set_parameters(NODE, max_age_ms=5000.0) == ['']
        client.ask(camera, SMALL)


def test_a_machine_slower_than_its_budget_answers_late_and_says_so(client, checkpoint_name):
    """With no ``max_age_ms`` of the user's the node warns rather than fall silent."""
    with slow_node(client, checkpoint_name, 'latency_budget_ms:=400.0'):
        client.wait_until(lambda: len(client.received['classification_scores']) == 5)
        _, text, values = client.diagnostics(NODE)
        assert (values['stale'], values['processed']) == ('0', '5')
        assert 'budget' in text
