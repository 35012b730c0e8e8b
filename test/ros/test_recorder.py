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
"""The recorder as a user starts it: real topics in, a whole rosbag2 out, whatever ends it."""

from datetime import datetime
from importlib import import_module
import re
import signal
import sys

from colour_weights import picture, save_colour_weights
from mtl_perception.bags import bag_types
from mtl_perception.errors import ConfigError
from mtl_perception.messages import OUTPUT_TYPES
from mtl_perception.ros.recording import (
    check_space, prediction_types, recording_name, ros2_bag_command)
from node_client import image_message, NodeProcess, perception, Process
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader

RECORDER = 'mtl_perception.ros.recorder'
FRAMES = 5
IMAGE = '/camera/image_raw'


@pytest.fixture(scope='module')
def node(client, tmp_path_factory):
    """Start the node with small weights."""
    weights = save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours').folder
    with perception(f'checkpoint:={weights}', remap=[f'image:={IMAGE}']) as process:
        process.wait_for_output('listening')
        yield process


@pytest.fixture
def camera(client, node):
    """Publish what the node answers."""
    client.listen('perception')
    publisher = client.camera(IMAGE)
    client.warm_up(publisher)
    yield publisher
    client.remove(publisher)
    client.stop_listening()


def read(path):
    """Return the messages of each topic of a bag, as this ROS takes them off the wire."""
    messages = {}
    with AnyReader([path], default_typestore=bag_types()) as reader:
        for connection in reader.connections:
            messages[connection.topic] = []
        for connection, _, data in reader.messages():
            package, _, name = connection.msgtype.split('/')
            kind = getattr(import_module(f'{package}.msg'), name)
            messages[connection.topic].append(deserialize_message(bytes(data), kind))
    return messages


def wait_for_recorder(client, process, topic=IMAGE, others=0):
    """Return once it listens to all that it records."""
    process.wait_for_output('recording')
    client.wait_until(
        lambda: client._node.count_subscribers(topic) > others
        and client._node.count_subscribers('/perception/segmentation') > 1, what='a recorder')
    client.spin(0.7)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_recording_holds_what_was_said(client, camera, tmp_path, number):
    """All of it: image, predictions, and the labels of a node that was there before."""
    out = tmp_path / 'run'
    with NodeProcess(RECORDER, '--image', IMAGE, '--out', str(out)) as process:
        wait_for_recorder(client, process, others=1)
        client.received.clear()
        sent = [image_message(picture(red=(8 * i, 16)), client.now()) for i in range(FRAMES)]
        for message in sent:
            camera.publish(message)
            client.wait_until(lambda: client.has_answers(message.header.stamp))
        client.spin(0.5)
        assert not out.exists() and out.with_name('run.partial').is_dir()
        status, _ = process.end(number)
        assert status == 0, process.output
        assert 'Traceback' not in process.output
    assert [path.name for path in tmp_path.iterdir()] == ['run']
    messages = read(out)
    assert messages.keys() == {IMAGE, *prediction_types('/perception')}
    assert messages[IMAGE] == sent
    for output in OUTPUT_TYPES:
        assert messages[f'/perception/{output}'] == client.received[output]
    for head in ('detections', 'segmentation', 'classification'):
        assert len(messages[f'/perception/{head}/label_info']) == 1


def test_a_best_effort_camera_is_recorded(client, tmp_path):
    """The subscription takes what the publisher offers."""
    out = tmp_path / 'run'
    with NodeProcess(RECORDER, '--node', '/nobody', '--image', '/shy/image',
                     '--out', str(out)) as process:
        process.wait_for_output('recording')
        shy = client.camera('/shy/image', reliability='best_effort')
        client.spin(1.5)
        client.publish(shy, picture())
        client.spin(0.5)
        assert process.end()[0] == 0, process.output
        client.remove(shy)
    assert len(read(out)['/shy/image']) == 1


def test_it_ends_before_the_disk_is_full(client, camera, tmp_path):
    """One line, and what was recorded until then is whole."""
    out = tmp_path / 'run'
    program = (f'import sys; from {RECORDER.rpartition(".")[0]} import recorder; '
               f'recorder.STOP_BYTES = 10**18; sys.exit(recorder.main({["--out", str(out)]}))')
    with Process([sys.executable, '-c', program]) as process:
        process.wait_for_output('recording')
        client.ask(camera, picture())
        assert process.wait() == 2
        assert process.output.count('error: ') == 1 and 'MB free' in process.output
        assert 'Traceback' not in process.output
    assert sum(map(len, read(out).values())) >= 1


def test_a_disk_that_refuses_keeps_what_was_written(client, tmp_path):
    """The kernel refuses a file over a limit, as it does on a disk that is full."""
    out, kept = tmp_path / 'run', tmp_path / 'run_unfinished.mcap'
    command = (f'ulimit -f 2048; exec {sys.executable} -m {RECORDER} --node /nobody '
               f'--image /big/image --out {out}')
    with Process(['bash', '-c', command]) as process:
        process.wait_for_output('recording')
        big = client.camera('/big/image')
        for seed in range(8):
            client.publish(big, noise(seed))
            client.spin(0.2)
        assert process.wait() == 2
        assert 'File too large' in process.output and 'Traceback' not in process.output
        assert process.output.count('error: ') == 1
        assert f'{kept} holds what came before' in process.output
        client.remove(big)
    assert not out.exists(), 'nothing that looks whole'
    assert kept.stat().st_size > 1e6


def noise(seed):
    """Return a picture that no compression makes smaller."""
    return np.random.default_rng(seed).integers(0, 256, (480, 640, 3), np.uint8)


@pytest.mark.parametrize('arguments, expected', [
    (['--out', '/no/such/folder/run'], '/no/such/folder'),
    (['--out', '/tmp'], 'a new name'),
])
def test_bad_input_is_one_line(arguments, expected):
    """What was expected, what came, what to do."""
    with NodeProcess(RECORDER, *arguments) as process:
        assert process.wait() == 2
        assert process.output.startswith('error: ') and expected in process.output
        assert process.output.count('\n') == 1


def test_too_little_space_is_refused(tmp_path):
    """The line says how much is needed and how much there is."""
    check_space(tmp_path, 1)
    with pytest.raises(ConfigError, match=r'expected at least 1000000000000 MB free.*got \d+'):
        check_space(tmp_path, 10**18)
    with pytest.raises(ConfigError, match='No such file'):
        check_space(tmp_path / 'none', 1)


def test_a_name_says_who_and_when():
    """Nodes that start in the same second get names of their own."""
    moment = datetime(2026, 11, 22, 12, 3, 5)
    assert recording_name('/perception', moment) == 'perception_2026-11-22-12-03-05'
    assert recording_name('/front/perception', moment) == 'front_perception_2026-11-22-12-03-05'


def test_ros2_bag_is_told_exactly_the_topics(tmp_path):
    """An expression, as both Humble and Lyrical take one."""
    topics = [*prediction_types('/perception'), IMAGE]
    command = ros2_bag_command(topics, tmp_path / 'run')
    pattern = command[command.index('--regex') + 1]
    for topic in topics:
        assert re.search(pattern, topic)
        assert not re.search(pattern, f'{topic}/compressed')
        assert not re.search(pattern, f'/other{topic}')
    assert command[command.index('--output') + 1] == str(tmp_path / 'run')
