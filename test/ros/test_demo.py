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
"""The demo as a user starts it: three processes, a recording that reads back, a clean end."""

import os
import signal
import subprocess
import sys
import time

from colour_weights import CARD, picture, save_colour_weights
import cv2
from mtl_perception.bag_pictures import read_answers
from mtl_perception.bags import bag_message_builder, bag_types
from mtl_perception.errors import ConfigError
from mtl_perception.messages import OUTPUT_TYPES
from mtl_perception.prediction import Detections, Prediction
from mtl_perception.ros.conversions import ros_message_builder, TYPES
from mtl_perception.ros.demo import prepare_folder
from mtl_perception.ros.monitor import live_table, Monitor, status_line
from mtl_perception.ros.recording import prediction_types
from node_client import perception, STAMPED
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from rich.console import Console
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from waiting import processes_with, wait_for

RATE_HZ = 10
PICTURES = 60
TIMEOUT_S = 40.0
MARK = 'DEMO_OF_TEST'
OUTPUTS = ('detections', 'segmentation', 'classification_scores')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours').folder


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pictures')
    for i in range(PICTURES):
        cv2.imwrite(str(folder / f'{i:03d}.png'), picture(red=(16 * (i % 8), 16), blue=(64, 48)))
    return folder


@pytest.fixture
def start(weights, pictures, tmp_path):
    """Start demos whose processes can be told by their folder, and leave none."""
    started = []

    def start_demo(*arguments, **options):
        started.append(subprocess.Popen(
            [sys.executable, '-m', 'mtl_perception.ros.demo', '--checkpoint', str(weights),
             '--source', str(pictures), '--rate', str(RATE_HZ), '--out', str(tmp_path / 'out'),
             '--lines', *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, MARK: str(tmp_path)}, **options))
        return started[-1]

    yield start_demo
    for process in started:
        process.kill()
        process.communicate()


def processes_of(folder):
    return processes_with(MARK, folder)


def child(folder, module):
    return next((process for process in processes_of(folder)
                 if f'mtl_perception.ros.{module}' in process.cmdline()), None)


def test_one_pass_leaves_pictures_and_a_bag_that_reads_back(start, tmp_path):
    demo = start()
    output, errors = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 0, errors
    out = tmp_path / 'out'
    assert 'frames answered' in output and 'next:' in output and str(out / 'bag') in output
    assert processes_of(tmp_path) == []
    sheet = cv2.imread(str(out / 'contact_sheet.png'))
    overlays = sorted(out.glob('overlay_*.png'))
    assert len(overlays) == 12 and sheet.shape[1] > 4 * 128
    assert cv2.imread(str(overlays[0])).shape == (96, 128, 3)
    with AnyReader([out / 'bag']) as reader:
        assert {c.topic for c in reader.connections} == {
            '/camera/image_raw/compressed', *prediction_types('/perception')}
    answers = read_answers(out / 'bag', '/camera/image_raw/compressed', '/perception')
    assert len(answers) > PICTURES / 3, 'many, even on a machine that is busy'
    with AnyReader([out / 'bag']) as reader:
        counts = {c.topic.rpartition('/')[2]: c.msgcount for c in reader.connections}
    assert counts['compressed'] == PICTURES, 'the first one too'
    for answer in answers:
        names = {item.results[0].hypothesis.class_id
                 for item in answer.parts['detections'].detections}
        assert 'blue' in names
        assert all(answer.parts[name].header == answer.picture.header for name in OUTPUTS)
    stamps = [a.picture.header.stamp.sec * 10**9 + a.picture.header.stamp.nanosec for a in answers]
    assert stamps == sorted(set(stamps))
    assert {path.name for path in out.iterdir()} == {
        'bag', 'contact_sheet.png', 'camera_node.log', 'perception_node.log',
        *(path.name for path in overlays)}


def recorded(bag):
    """Return the pictures of a demo's bag, and by output and stamp what was said of them."""
    pictures, answers = [], {output: {} for output in OUTPUTS}
    with AnyReader([bag], default_typestore=bag_types()) as reader:
        for connection, _, data in reader.messages():
            output = connection.topic.rpartition('/')[2]
            if output == 'compressed':
                pictures.append(deserialize_message(bytes(data), CompressedImage))
            elif output in OUTPUTS:
                message = deserialize_message(bytes(data), STAMPED[output])
                answers[output][message.header.stamp.nanosec] = message
    return pictures, answers


def test_its_bag_replays_with_the_same_answers(start, client, weights, tmp_path):
    """Each recorded picture, sent to a node again, is answered with the recorded messages."""
    demo = start('--seconds', '4')
    assert demo.wait(TIMEOUT_S) == 0
    pictures, answers = recorded(tmp_path / 'out' / 'bag')
    with perception(f'checkpoint:={weights}', 'image_transport:=compressed',
                    'max_age_ms:=86400000.0', remap=['image:=/replay']):
        client.listen('perception')
        camera = client.compressed_camera('/replay/compressed')
        while not client.received['segmentation']:  # both ends know each other
            camera.publish(CompressedImage(header=Header(stamp=client.now()),
                                           format='jpeg', data=pictures[0].data))
            client.spin(0.2)
        client.spin(0.5)
        compared = 0
        for message in pictures:
            if message.header.stamp.nanosec not in answers['segmentation']:
                continue
            camera.publish(message)
            client.wait_until(lambda: client.has_answers(message.header.stamp))
            for output in OUTPUTS:
                assert client.answer(output, message.header.stamp) == \
                    answers[output][message.header.stamp.nanosec]
            compared += 1
        client.stop_listening()
    assert compared > 5


@pytest.mark.parametrize('moment, number', [
    ('start', signal.SIGINT), ('node', signal.SIGINT), ('camera', signal.SIGTERM),
    ('answers', signal.SIGINT), ('answers', signal.SIGHUP),
])
def test_it_ends_at_any_moment_and_leaves_no_process(start, tmp_path, moment, number):
    demo = start('--seconds', '30')
    wait_for({'start': (tmp_path / 'out' / 'bag.partial').exists,
              'node': lambda: child(tmp_path, 'node'),
              'camera': lambda: child(tmp_path, 'camera'),
              'answers': lambda: 'latency' in demo.stdout.readline()}[moment], moment, TIMEOUT_S)
    demo.send_signal(number)
    output, errors = demo.communicate(timeout=15)
    assert demo.returncode == 130
    assert 'Traceback' not in errors, errors
    assert processes_of(tmp_path) == []
    assert not (tmp_path / 'out' / 'bag').exists(), 'no half recording that looks whole'
    assert not (tmp_path / 'out' / 'bag.partial').exists()


def test_a_killed_demo_takes_its_children_along(start, tmp_path):
    demo = start()
    wait_for(lambda: child(tmp_path, 'camera'), 'camera', TIMEOUT_S)
    demo.kill()
    demo.wait()
    wait_for(lambda: processes_of(tmp_path) == [], 'no process', 10.0)
    again = start('--seconds', '3')
    output, errors = again.communicate(timeout=TIMEOUT_S)
    assert again.returncode == 0, errors


@pytest.mark.parametrize('module', ['node', 'camera'])
def test_a_child_that_crashes_is_reported(start, tmp_path, module):
    demo = start()
    wait_for(lambda: child(tmp_path, 'camera'), 'camera', TIMEOUT_S)
    time.sleep(0.5)
    child(tmp_path, module).kill()
    output, errors = demo.communicate(timeout=20)
    assert demo.returncode == 2
    name = {'node': 'perception_node', 'camera': 'camera_node'}[module]
    assert f'{name} ended with status -9' in errors
    if module == 'node':
        assert 'listening to /camera/image_raw/compressed' in errors, 'its last lines'
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize('arguments, expected', [
    (['--source', '/no/such.mp4'], '/no/such.mp4'), (['--seconds', '0'], '--seconds'),
    (['--checkpoint', '/no/weights'], '/no/weights'), (['--rate', '0'], '--rate'),
    (['--out', '/proc/demo'], '/proc/demo'),
])
def test_bad_input_is_said(start, tmp_path, arguments, expected):
    demo = start(*arguments)
    output, errors = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 2 and expected in errors and 'Traceback' not in errors
    assert processes_of(tmp_path) == []


def test_a_folder_of_somebody_else_stays(tmp_path):
    (tmp_path / 'overlay_01.png').write_bytes(b'')
    (tmp_path / 'thesis.tex').write_text('years of work')
    with pytest.raises(ConfigError, match='thesis.tex'):
        prepare_folder(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / 'thesis.tex').unlink()
    (tmp_path / 'bag').mkdir()
    (tmp_path / 'bag' / 'notes.txt').write_text('mine')
    with pytest.raises(ConfigError, match='bag'):
        prepare_folder(tmp_path)
    (tmp_path / 'bag' / 'notes.txt').rename(tmp_path / 'bag' / 'bag.mcap')
    prepare_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bag_holds_the_messages_that_the_node_would_send():
    """What rosbags writes of a prediction is to ROS what ROS builds of it."""
    detections = Detections(np.array([[1.5, 2, 11, 20.25], [0, 0, 3, 4]], np.float32),
                            np.array([0.75, 0.3], np.float32), np.array([2, 1]))
    mask = np.random.default_rng(0).integers(0, 3, (5, 7), np.uint8)
    prediction = Prediction(detections, mask, np.array([0.4, 0.6], np.float32))
    header = TYPES.Header(frame_id='lens')
    header.stamp.sec, header.stamp.nanosec = 12, 34
    live = dict(ros_message_builder(CARD, 'name').answers(header, prediction))
    recorded = dict(bag_message_builder(CARD, 'name').answers(header, prediction))
    assert live.keys() == recorded.keys() == OUTPUT_TYPES.keys()
    for name, message in recorded.items():
        kind = type(live[name])
        assert deserialize_message(bytes(bag_types().serialize_cdr(message, OUTPUT_TYPES[name])),
                                   kind) == live[name]


def test_the_monitor_counts_by_stamp():
    monitor = Monitor({'a', 'b'})
    for stamp in range(1, 11):
        monitor.add_picture(stamp * 10**8)
    for stamp in (2, 3, 5, 8):
        monitor.add_answer('a', stamp * 10**8, stamp * 10**8 + 10**7, 'x')
        assert monitor.answered < stamp
        monitor.add_answer('b', stamp * 10**8, stamp * 10**8 + 2 * 10**7, 'y')
    monitor.add_answer('a', 9 * 10**8, 10**9, 'alone')
    assert (monitor.answered, monitor.dropped) == (4, 3), '4, 6 and 7 lie between 2 and 8'
    assert monitor.latency_ms(50) == monitor.latency_ms(95) == pytest.approx(20)
    assert monitor.rate_hz(9 * 10**8) == pytest.approx(3 / 0.6)
    assert monitor.rate_hz(99 * 10**8) == 0.0
    assert monitor.latest == {'a': 'x', 'b': 'y'}


def test_what_is_seen_is_shown():
    detections = Detections(np.zeros((6, 4), np.float32), np.linspace(0.9, 0.4, 6),
                            np.array([1, 2, 1, 2, 1, 2]))
    mask = np.zeros((10, 10), np.uint8)
    mask[:3] = 1
    prediction = Prediction(detections, mask, np.array([0.25, 0.75], np.float32))
    line = status_line(1.0, Monitor({'a'}), 0, prediction, CARD)
    assert 'bright 0.75' in line and 'red 0.90, blue 0.80' in line and '2 more' in line
    assert 'mask 30%' in line and '\n' not in line
    console = Console(width=100, record=True, file=open(os.devnull, 'w'))
    console.print(live_table('title', 3.0, 30.0, Monitor({'a'}), 0, prediction, CARD))
    text = console.export_text()
    assert 'bright 0.75' in text and 'blue' in text and '30% of the picture' in text
    empty = Console(width=100, record=True, file=open(os.devnull, 'w'))
    empty.print(live_table('title', 0.0, 30.0, Monitor({'a'}), 0, None, CARD))
    assert text.count('\n') == empty.export_text().count('\n'), 'the table does not jump'
