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
"""A GPU that is lost while it works: go on without it or stop, by choice, and say so."""

from pathlib import Path
import sys

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from node_client import Process
import numpy as np
import pytest

NODE = 'odd'
PICTURE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def odd_node(client, checkpoint_name):
    """Return a function that starts the node on a GPU that answers a few frames."""
    def start(*parameters):
        arguments = ['--ros-args', '-r', f'__node:={NODE}']
        for value in (f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000', *parameters):
            arguments += ['-p', value]
        return Process([sys.executable, str(Path(__file__).with_name('odd_node.py')), 'lost',
                        *arguments])
    return start


def test_the_cpu_stands_in_and_no_frame_is_lost(client, odd_node):
    """Start line, log and diagnostics name the device that is really used."""
    with odd_node('device:=cuda') as process:
        process.wait_for_output('listening')
        assert 'runs with onnx on cuda:0' in process.output
        client.listen(NODE)
        assert client.diagnostics(NODE)[2]['device'] == 'cuda:0'
        camera = client.camera()
        client.warm_up(camera)
        stamps = [client.ask(camera, PICTURE) for _ in range(8)]
        assert all(client.answer('detections', stamp) for stamp in stamps)
        level, text, values = client.diagnostics(NODE)
        assert level == DiagnosticStatus.WARN
        assert (values['device'], values['provider']) == ('cpu', 'CPUExecutionProvider')
        assert values['invalid'] == '0'
        said = 'cuda:0 is lost to engine onnx: CUDA error 700: an illegal memory access'
        assert said in text and 'running onnx on cpu since' in text
        assert process.output.count(said) == 1
        client.remove(camera)
        assert process.end()[0] == 0, process.output


def test_a_node_of_its_own_ends_when_its_device_is_lost(client, odd_node):
    """A respawn, or whoever looks at exit statuses, can act on it."""
    with odd_node('device:=cuda', 'require_device:=true') as process:
        process.wait_for_output('listening')
        camera = client.camera()
        for _ in range(100):
            client.publish(camera, PICTURE)
            client.spin(0.1)
            if not process.is_alive:
                break
        assert process.wait() == 1
        lines = [row for row in process.output.splitlines() if row.startswith('error: ')]
        assert len(lines) == 1 and 'cuda:0 is lost' in lines[0]
        assert 'Traceback' not in process.output
        client.remove(camera)


def test_a_managed_node_stops_when_its_device_is_lost(client, odd_node):
    """It is unconfigured, an error in diagnostics, and can be configured for another device."""
    with odd_node('device:=cuda', 'require_device:=true', 'autostart:=false') as process:
        assert client.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        assert client.change_state(NODE, Transition.TRANSITION_ACTIVATE)
        client.listen(NODE)
        camera = client.camera()
        for _ in range(100):
            client.publish(camera, PICTURE)
            client.spin(0.1)
            if 'the node stops' in process.output:
                break
        assert client.state(NODE) == 'unconfigured'
        level, text, values = client.diagnostics(NODE)
        assert level == DiagnosticStatus.ERROR and 'cuda:0 is lost' in text
        assert values['device'] == '' and int(values['received']) == sum(
            int(values[name]) for name in ('processed', 'replaced', 'stale', 'invalid', 'pending'))
        assert client.set_parameters(NODE, device='cpu') == ['']
        assert client.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        assert client.change_state(NODE, Transition.TRANSITION_ACTIVATE)
        client.listen(NODE)
        client.warm_up(camera)
        assert client.diagnostics(NODE)[2]['device'] == 'cpu'
        client.remove(camera)
