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
"""Every transition of the lifecycle, again and again, as a lifecycle manager asks for them."""

import os
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from node_client import image_message, perception
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

NODE = 'managed'
PICTURE = np.zeros((120, 160, 3), np.uint8)
CONFIGURE = (Transition.TRANSITION_CONFIGURE, 'inactive')
ACTIVATE = (Transition.TRANSITION_ACTIVATE, 'active')
DEACTIVATE = (Transition.TRANSITION_DEACTIVATE, 'inactive')
# The long form: LIFECYCLE_ROUNDS=200
ROUNDS = int(os.environ.get('LIFECYCLE_ROUNDS', 20))
WARM_UP_ROUNDS = 5
CLEAN_UP = (Transition.TRANSITION_CLEANUP, 'unconfigured')


@pytest.fixture
def walk(client):
    """Return a function that asks for transitions and checks the state after each."""
    def through(*steps):
        for transition, state in steps:
            assert client.change_state(NODE, transition), f'towards {state}'
            assert client.state(NODE) == state
    return through


def managed(checkpoint_name):
    """Start a node that waits for a manager."""
    return perception(f'checkpoint:={checkpoint_name}', 'autostart:=false',
                      'latency_budget_ms:=10000', node=NODE)


def test_all_states_in_a_row_and_again(client, walk, checkpoint_name):
    """The node works, rests, forgets and works again; only the active one answers."""
    with managed(checkpoint_name) as process:
        assert client.state(NODE) == 'unconfigured'
        for _ in range(2):
            walk(CONFIGURE, ACTIVATE)
            client.listen(NODE)
            camera = client.camera()
            client.warm_up(camera)
            walk(DEACTIVATE, ACTIVATE)
            client.warm_up(camera)
            walk(DEACTIVATE)
            client.wait_until(lambda: not camera.get_subscription_count())
            client.received.clear()
            client.publish(camera, PICTURE)
            client.spin(0.3)
            assert not client.received['detections']
            walk(CLEAN_UP)
            client.remove(camera)
        assert client.diagnostics(NODE)[1] == 'unconfigured'
        status, _ = process.end()
        assert status == 0, process.output


@pytest.mark.parametrize('steps, shutdown', [
    ([], Transition.TRANSITION_UNCONFIGURED_SHUTDOWN),
    ([CONFIGURE], Transition.TRANSITION_INACTIVE_SHUTDOWN),
    ([CONFIGURE, ACTIVATE], Transition.TRANSITION_ACTIVE_SHUTDOWN)])
def test_shutdown_from_every_state(walk, checkpoint_name, steps, shutdown):
    """A manager may end the work at any point; the process waits for its signal."""
    with managed(checkpoint_name) as process:
        walk(*steps, (shutdown, 'finalized'))
        assert process.is_alive
        status, _ = process.end()
        assert status == 0, process.output


def test_a_transition_that_is_not_possible_is_refused(client, walk, checkpoint_name):
    """Asking for the wrong thing does not end the node."""
    with managed(checkpoint_name) as process:
        # Up to Jazzy, rclpy does not even respond to such a request.
        assert not client.change_state(NODE, Transition.TRANSITION_ACTIVATE, timeout_s=2.0)
        assert client.state(NODE) == 'unconfigured'
        walk(CONFIGURE, ACTIVATE)
        assert not client.change_state(NODE, Transition.TRANSITION_CONFIGURE, timeout_s=2.0)
        assert client.state(NODE) == 'active' and process.is_alive


def test_weights_that_cannot_be_loaded_leave_a_managed_node_unconfigured(client, tmp_path):
    """Under a manager the node stays, says why, and can be asked again."""
    with managed(tmp_path) as process:
        for _ in range(2):
            assert not client.change_state(NODE, Transition.TRANSITION_CONFIGURE)
            assert client.state(NODE) == 'unconfigured'
        assert str(tmp_path) in process.output and 'Traceback' not in process.output
        assert process.is_alive


def test_a_failed_start_is_mended_by_its_parameter(client, walk, checkpoint_name, tmp_path):
    """What is fixed while configured may be set while unconfigured, and only then."""
    with managed(tmp_path) as process:
        client.listen_to_diagnostics()
        assert not client.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        level, text, values = client.diagnostics(NODE)
        assert level == DiagnosticStatus.ERROR and str(tmp_path) in text
        assert values['state'] == 'unconfigured'
        assert client.set_parameters(NODE, checkpoint=checkpoint_name, device='cpu') == ['', '']
        walk(CONFIGURE)
        assert client.diagnostics(NODE)[:2] == (DiagnosticStatus.OK, 'inactive')
        for state, step in (('inactive', ACTIVATE), ('active', DEACTIVATE)):
            refusal, = client.set_parameters(NODE, checkpoint='other')
            assert f'checkpoint: fixed while the node is {state}' in refusal
            assert f'ros2 lifecycle set /{NODE}' in refusal
            assert client.set_parameters(NODE, checkpoint=checkpoint_name) == ['']  # no change
            walk(step)
        walk(CLEAN_UP)
        assert client.set_parameters(NODE, images=['front/image']) == ['']
        walk(CONFIGURE, ACTIVATE)
        process.wait_for_output('listening to /front/image')


def resources(pid):
    """Return resident MB, open files and threads of a process."""
    process = Path(f'/proc/{pid}')
    return (int((process / 'statm').read_text().split()[1]) * 4096 / 2**20,
            len(list((process / 'fd').iterdir())), len(list((process / 'task').iterdir())))


def test_transitions_leave_nothing_behind(client, checkpoint_name):
    """Memory, files and threads of a node that is brought up and down again and again."""
    with managed(checkpoint_name) as process:
        camera = client.publisher(Image, '/image', QoSProfile(depth=5))
        steps = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE,
                 Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE,
                 Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
        change = client.state_changer(NODE)
        for number in range(WARM_UP_ROUNDS + ROUNDS):
            if number == WARM_UP_ROUNDS:
                before = resources(process.pid)
            for step in steps:
                assert change(step)
                camera.publish(image_message(PICTURE, client.now()))
        after = resources(process.pid)
        client.remove(camera)
        assert after[1:] == before[1:], (before, after)
        assert after[0] - before[0] < 8.0, (before, after)  # it settles
        client.listen_to_diagnostics()
        values = client.diagnostics(NODE)[2]
        assert int(values['received']) == sum(int(values[name]) for name in (
            'processed', 'replaced', 'stale', 'invalid'))
        assert values['pending'] == '0'


def test_the_accounts_balance_through_every_state(client, walk, checkpoint_name):
    """Frames that come while the node is taken down and up are in the counts too."""
    with managed(checkpoint_name):
        client.listen_to_diagnostics()
        camera = client.publisher(Image, '/image', QoSProfile(depth=5))
        received = 0
        for step in (CONFIGURE, ACTIVATE, DEACTIVATE, CLEAN_UP, CONFIGURE, ACTIVATE):
            for _ in range(10):
                client.publish(camera, PICTURE)
                client.spin(0.03)
            walk(step)
            values = client.diagnostics(NODE)[2]
            assert int(values['received']) == sum(int(values[name]) for name in (
                'processed', 'replaced', 'stale', 'invalid', 'pending'))
            assert int(values['received']) >= received
            received = int(values['received'])
        client.wait_until(lambda: (client.publish(camera, PICTURE),
                                   int(client.diagnostics(NODE)[2]['received']) > received)[1])
        client.remove(camera)
