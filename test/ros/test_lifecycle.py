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

from lifecycle_msgs.msg import Transition
from node_client import perception
import numpy as np
import pytest

NODE = 'managed'
PICTURE = np.zeros((120, 160, 3), np.uint8)
CONFIGURE = (Transition.TRANSITION_CONFIGURE, 'inactive')
ACTIVATE = (Transition.TRANSITION_ACTIVATE, 'active')
DEACTIVATE = (Transition.TRANSITION_DEACTIVATE, 'inactive')
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
