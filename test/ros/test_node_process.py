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
"""How the executables start and end: exit status, one line for the user, nothing left behind."""

import signal

from node_client import NodeProcess, perception
import numpy as np
import pytest

NODE = 'mtl_perception.ros.node'
CAMERA = 'mtl_perception.ros.camera'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('busy', [False, True])
def test_signals_end_the_node_cleanly(client, checkpoint_name, number, busy):
    """Status 0, no traceback, soon, with and without a frame under way."""
    with perception(f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000') as process:
        process.wait_for_output('listening')
        camera = client.camera()
        for _ in range(5 * busy):
            client.publish(camera, np.zeros((480, 640, 3), np.uint8))
        status, seconds = process.end(number)
        client.remove(camera)
        assert status == 0, process.output
        assert 'Traceback' not in process.output and 'rror' not in process.output
        assert seconds < 4.0  # a fraction of a second where nothing else runs


@pytest.mark.parametrize('arguments, said', [
    (['-p', 'checkpoint:=no_such_weights'], 'no_such_weights'),
    (['-p', 'score_threshold:=1.5'], 'score_threshold'),
    (['-p', 'score_threshold:=high'], 'score_threshold'),
    (['-p', 'reliability:=perhaps'], 'auto, reliable, best_effort'),
    (['-p', 'device:=abacus'], 'abacus'),
    (['-r', 'image:=no topic'], 'no topic'),
    (['--params-file', 'no_such_file.yaml'], 'no_such_file.yaml')])
def test_a_start_that_cannot_work_is_one_line(arguments, said):
    """The node ends at once, with a status and the reason."""
    with NodeProcess(NODE, '--ros-args', *arguments) as process:
        assert process.wait() == 1
        lines = [line for line in process.output.splitlines() if line.startswith('error: ')]
        assert len(lines) == 1 and said in lines[0]
        assert 'Traceback' not in process.output


def test_an_active_node_needs_its_device(checkpoint_name):
    """What is required and cannot be had is an error, not a slower answer."""
    with perception(f'checkpoint:={checkpoint_name}', 'device:=cuda:63',
                    'require_device:=true') as process:
        assert process.wait() == 1
        assert 'error: ' in process.output and 'cuda:63' in process.output


@pytest.mark.parametrize('module', [NODE, CAMERA])
def test_help_names_every_parameter(module):
    """Help works beside ROS arguments and shows the defaults."""
    with NodeProcess(module, '--help', '--ros-args', '-r', 'image:=/a') as process:
        assert process.wait() == 0
        wanted = {NODE: ['score_threshold:=0.3', 'autostart:=true'],
                  CAMERA: ['--rate', '--image-transport', 'default: 10.0']}[module]
        assert all(text in process.output for text in wanted)


@pytest.mark.parametrize('module', [NODE, CAMERA])
def test_unknown_options_are_refused(module):
    """A typing error is no option."""
    with NodeProcess(module, '--no-such-option') as process:
        assert process.wait() == 2
        assert '--no-such-option' in process.output
