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
"""SROS2: the policy names what the node has, and a secured node answers only who may ask."""

from pathlib import Path
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from node_client import perception, Process
import pytest
import rclpy
from rclpy.node import NodeNameNonExistentError

POLICY = Path(__file__).resolve().parent.parent.parent / 'config/sros2/perception.policy.xml'
CLIENT = [sys.executable, str(Path(__file__).with_name('secured_client.py')), '6']
# The message of rmw_fastrtps where its Fast DDS is built without; the wheels of PyPI are.
NO_SECURITY = "doesn't have the security libraries"
NEWER = '/perception/get_type_description'  # not in Humble
# What a client of the node does, and what nobody allowed it.
CLIENT_POLICY = """<policy version="0.2.0"><enclaves>
<enclave path="/client"><profiles><profile ns="/" node="secured_client">
<topics publish="ALLOW"><topic>image</topic><topic>/rosout</topic>
<topic>/parameter_events</topic></topics>
<topics subscribe="ALLOW"><topic>/perception/detections</topic></topics>
<services request="ALLOW"><service>/perception/get_state</service></services>
</profile></profiles></enclave></enclaves></policy>"""


def allowed(tag, right):
    """Return the full names that the policy allows to be published, subscribed or served."""
    profile = ElementTree.parse(POLICY).getroot().find('enclaves/enclave/profiles/profile')
    assert (profile.get('ns'), profile.get('node')) == ('/', 'perception')
    names = [item.text for rule in profile.findall(f'{tag}s[@{right}="ALLOW"]')
             for item in rule.findall(tag)]
    assert len(set(names)) == len(names)
    return {name.replace('~', '/perception') if name[0] in '~/' else f'/{name}' for name in names}


@pytest.fixture
def seen(client):
    """Return a function that returns the names that the graph shows of the node."""
    observer = rclpy.create_node('observer')

    def names(what):
        try:
            return {name for name, _ in getattr(observer, f'get_{what}_names_and_types_by_node')(
                'perception', '/')}
        except NodeNameNonExistentError:
            return set()
    yield names
    observer.destroy_node()


def test_the_policy_names_exactly_what_the_node_has(client, seen, checkpoint_name):
    """Of the real graph, with raw and with compressed pictures, with simulated time."""
    published, heard, served = set(), set(), set()
    for transport, topic in (('raw', '/image'), ('compressed', '/image/compressed')):
        with perception(f'checkpoint:={checkpoint_name}', f'image_transport:={transport}',
                        'use_sim_time:=true') as process:
            process.wait_for_output('listening')
            client.wait_until(lambda: {topic, '/clock'} <= seen('subscriber'))
            client.spin(1.0)
            published |= seen('publisher')
            heard |= seen('subscriber')
            served |= seen('service')
            assert not seen('client')
        client.wait_until(lambda: not seen('service'))
    assert published == allowed('topic', 'publish')
    assert heard == allowed('topic', 'subscribe')
    assert served | {NEWER} == allowed('service', 'reply')


@pytest.fixture(scope='module')
def keystore(tmp_path_factory):
    """Return a keystore that the commands of docs/SECURITY.md make."""
    if shutil.which('ros2') is None or subprocess.run(
            ['ros2', 'security', '--help'], capture_output=True).returncode != 0:
        pytest.skip('no `ros2 security` here')
    folder = tmp_path_factory.mktemp('sros2')
    (folder / 'client.xml').write_text(CLIENT_POLICY)
    store = folder / 'keys'
    for command in ('create_keystore {store}', 'create_enclave {store} /perception',
                    'create_permission {store} /perception {policy}',
                    'create_enclave {store} /client',
                    'create_permission {store} /client {client}'):
        subprocess.run(['ros2', 'security', *command.format(
            store=store, policy=POLICY, client=folder / 'client.xml').split()], check=True)
    # A stranger is who has keys, but of another authority.
    other = folder / 'other_keys'
    for command in ('create_keystore {other}', 'create_enclave {other} /client'):
        subprocess.run(['ros2', 'security', *command.format(other=other).split()], check=True)
    return folder


def test_the_policy_becomes_permissions(keystore):
    """The tool that comes with ROS takes the policy and signs what it makes of it."""
    folder = keystore / 'keys/enclaves/perception'
    grant = ElementTree.parse(folder / 'permissions.xml').getroot().find('permissions/grant')
    published = {topic.text for topic in grant.iterfind('allow_rule/publish/topics/topic')}
    assert 'rt/perception/detections' in published
    assert grant.findtext('default') == 'DENY' and not any('*' in name for name in published)
    assert (folder / 'permissions.p7s').stat().st_size > 0


def secured(store):
    """Return the environment that turns SROS2 on."""
    return {'ROS_SECURITY_ENABLE': 'true', 'ROS_SECURITY_STRATEGY': 'Enforce',
            'ROS_SECURITY_KEYSTORE': str(store)}


def ask(enclave='', **environment):
    """Return what a client in a process of its own got."""
    arguments = ['--ros-args', '--enclave', enclave] if enclave else []
    with Process([*CLIENT, *arguments], **environment) as process:
        process.wait()
        return process.output


def node(checkpoint_name, *arguments, **environment):
    """Start the node under the name that the policy has."""
    return Process([sys.executable, '-m', 'mtl_perception.ros.node', '--ros-args', '-p',
                    f'checkpoint:={checkpoint_name}', '-p', 'latency_budget_ms:=10000',
                    *arguments], **environment)


def test_without_sros2_everybody_is_answered(ros_log_dir, checkpoint_name):
    """The same client, so that its silence below means something."""
    with node(checkpoint_name) as process:
        process.wait_for_output('listening')
        assert 'answers: 1, state: active' in ask()


def test_keys_that_are_not_there_are_one_line(ros_log_dir, checkpoint_name, tmp_path):
    """A node that is told to be secure is secure or does not run."""
    with node(checkpoint_name, '--enclave', '/perception', **secured(tmp_path)) as process:
        assert process.wait() == 1
        lines = [line for line in process.output.splitlines() if line.startswith('error: ')]
        assert len(lines) == 1 and 'SECURITY' in lines[0] and 'Traceback' not in process.output


def test_a_secured_node_answers_only_who_may_ask(keystore, ros_log_dir, checkpoint_name):
    """Neither a client without keys nor one with another authority's gets anything."""
    environment = secured(keystore / 'keys')
    with node(checkpoint_name, '--enclave', '/perception', **environment) as process:
        try:
            process.wait_for_output('listening')
        except AssertionError:
            if NO_SECURITY not in process.output:
                raise
            pytest.skip('this Fast DDS is built without security')
        assert 'answers: 1, state: active' in ask('/client', **environment)
        assert 'answers: 0, state: unknown' in ask()
        assert 'answers: 0, state: unknown' in ask('/client', **secured(keystore / 'other_keys'))
        assert 'Traceback' not in process.output
