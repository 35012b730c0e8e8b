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
"""The real node in its own process, over real DDS: images in, predictions out."""

import cv2
from diagnostic_msgs.msg import DiagnosticStatus
from mtl_perception.ros.image_input import LARGE_DATA
from node_client import image_message, NodeProcess, perception, STAMPED
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
import yaml

NODE = 'perception'
ENDS = ('processed', 'replaced', 'stale', 'invalid', 'pending')
LONG_AGO_S = 3600
OK, WARN, ERROR = (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR)


@pytest.fixture(scope='module')
def node(client, checkpoint_name):
    """Return the running node, patient enough for a busy machine."""
    with perception(f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000') as process:
        process.wait_for_output('listening')
        client.listen(NODE)
        yield process
        status, _ = process.end()
        assert status == 0, process.output


@pytest.fixture(scope='module')
def camera(client, node):
    """Return a camera at default quality of service that the node has turned to."""
    publisher = client.camera()
    client.wait_until(lambda: client.diagnostics()[2]['reliability'] == 'reliable',
                      what='a reliable subscription')
    client.warm_up(publisher)
    return publisher


@pytest.fixture
def settings(client):
    """Return a function that sets parameters for one test; it takes them back after it."""
    before = {}

    def change(**values):
        for name, value in zip(values, client.get_parameters(NODE, *values)):
            before.setdefault(name, value)
        assert client.set_parameters(NODE, **values) == [''] * len(values)
    yield change
    client.set_parameters(NODE, **before)


def noise(height=480, width=640, seed=0):
    """Return a picture of coloured rectangles on noise."""
    generator = np.random.default_rng(seed)
    picture = generator.integers(0, 80, (height, width, 3), np.uint8)
    for colour in ((0, 0, 255), (0, 255, 0), (255, 0, 0)):
        top, left = generator.integers(0, (height // 2 + 1, width // 2 + 1))
        picture[top:top + height // 3, left:left + width // 3] = colour
    return picture


def counts(client):
    """Return the frame counts that diagnostics report."""
    values = client.diagnostics()[2]
    return {name: int(values[name]) for name in ('received', *ENDS)}


@pytest.mark.parametrize('height, width', [(480, 640), (720, 1280), (640, 480), (17, 31), (1, 1)])
def test_each_output_answers_once_with_the_same_header(client, camera, height, width):
    """Any size of picture is answered in its own pixels under its own header."""
    client.received.clear()
    stamps = [client.ask(camera, noise(height, width, seed), frame_id=f'optical_{seed}')
              for seed in range(3)]
    client.spin(0.3)
    assert len(client.received['classification']) == len(stamps)
    for name in STAMPED:
        assert len(client.received[name]) == len(stamps)
    for seed, stamp in enumerate(stamps):
        for name in STAMPED:
            header = client.answer(name, stamp).header
            assert (header.stamp, header.frame_id) == (stamp, f'optical_{seed}')
        mask = client.answer('segmentation', stamp)
        assert (mask.height, mask.width, mask.encoding, mask.step) == (
            height, width, 'mono8', width)
        assert len(mask.data) == height * width
        scores = [result.score for result in client.answer('classification_scores', stamp).results]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1.0, abs=1e-3)
        for detection in client.answer('detections', stamp).detections:
            box, centre = detection.bbox, detection.bbox.center.position
            assert detection.header.stamp == stamp
            assert 0.0 <= detection.results[0].hypothesis.score <= 1.0
            assert -0.01 <= centre.x - box.size_x / 2
            assert centre.x + box.size_x / 2 <= width + 0.01
            assert -0.01 <= centre.y - box.size_y / 2
            assert centre.y + box.size_y / 2 <= height + 0.01


def test_the_class_is_the_best_of_the_scores(client, camera):
    """The two classification outputs agree."""
    client.received.clear()
    stamp = client.ask(camera, noise())
    client.spin(0.2)
    best = client.answer('classification_scores', stamp).results[0]
    assert [message.data for message in client.received['classification']] == [best.class_id]


def test_a_scene_without_detections_gives_an_empty_array(client, camera, settings):
    """Nothing to report is reported."""
    settings(score_threshold=1.0)
    stamp = client.ask(camera, np.zeros((480, 640, 3), np.uint8))
    assert len(client.answer('detections', stamp).detections) == 0


def test_class_ids_follow_the_format(client, camera, settings):
    """With ``index``, ids are those of label_info."""
    client.listen_to_labels(NODE)
    client.wait_until(lambda: len(client.received['classification/label_info']) == 1)
    label = {item.class_id: item.class_name
             for item in client.received['classification/label_info'][0].class_map}
    client.stop_listening('detections/label_info', 'segmentation/label_info',
                          'classification/label_info')
    by_name = client.answer('classification_scores', client.ask(camera, noise()))
    settings(class_id_format='index')
    by_index = client.answer('classification_scores', client.ask(camera, noise()))
    assert [label[int(result.class_id)] for result in by_index.results] == \
        [result.class_id for result in by_name.results]


def test_label_info_is_latched_and_follows_the_threshold(client, camera, settings):
    """A late listener learns the names: 0 is the background of mask and boxes."""
    settings(score_threshold=0.625)
    client.received.clear()
    client.listen_to_labels(NODE)
    heads = ('detections', 'segmentation', 'classification')
    client.wait_until(lambda: all(client.received[f'{head}/label_info'] for head in heads))
    infos = {head: client.received[f'{head}/label_info'][-1] for head in heads}
    first = {head: info.class_map[0] for head, info in infos.items()}
    assert (first['detections'].class_id, first['segmentation'].class_id,
            first['classification'].class_id) == (1, 0, 0)
    names = {item.class_id: item.class_name for item in infos['segmentation'].class_map}
    for item in infos['detections'].class_map:
        assert names[item.class_id] == item.class_name
    assert infos['detections'].threshold == pytest.approx(0.625)
    client.stop_listening(*(f'{head}/label_info' for head in heads))


@pytest.mark.parametrize('head, silent', [
    ('detection', ['detections']),
    ('segmentation', ['segmentation']),
    ('classification', ['classification', 'classification_scores'])])
def test_each_output_can_be_switched_off(client, camera, settings, head, silent):
    """An output that is off says nothing; the others go on."""
    settings(**{head: False})
    client.received.clear()
    stamp = client.now()
    camera.publish(image_message(noise(), stamp))
    others = [name for name in STAMPED if name not in silent]
    client.wait_until(lambda: all(client.received[name] for name in others))
    client.spin(0.3)
    assert all(not client.received[name] for name in silent)
    assert all(len(client.received[name]) == 1 for name in others)


def test_pictures_for_people_are_made_while_somebody_looks(client, camera):
    """Overlay and coloured mask have the source's size and header."""
    client.listen(NODE, 'segmentation_color', 'overlay')
    client.warm_up(camera)
    stamp = client.ask(camera, noise(240, 320))
    for name, encoding in (('segmentation_color', 'rgb8'), ('overlay', 'bgr8')):
        client.wait_until(lambda: client.received[name])
        message = client.answer(name, stamp)
        assert (message.height, message.width, message.encoding) == (240, 320, encoding)
        assert message.header.frame_id == 'camera'
        assert len(message.data) == 240 * 320 * 3
    client.stop_listening('segmentation_color', 'overlay')


def test_a_malformed_image_is_counted_and_the_next_is_answered(client, camera):
    """Bad input costs its own frame only, and diagnostics say what was wrong with it."""
    cases = [
        (Image(height=0, width=0, encoding='bgr8'), 'at least one pixel'),
        (Image(height=2, width=2, encoding='32FC1', step=8, data=bytes(16)), '32FC1'),
        (Image(height=2, width=2, encoding='sepia8', step=6, data=bytes(12)), 'sepia8'),
        (Image(height=2, width=2, encoding='bgr8', step=6, data=bytes(11)), 'cut short'),
        (Image(height=2, width=2, encoding='bgr8', step=5, data=bytes(10)), 'at least 6 bytes'),
        (Image(height=2**31, width=2**31, encoding='bgr8', step=6, data=bytes(12)), 'got 6')]
    before = counts(client)
    for count, (message, said) in enumerate(cases, 1):
        def is_reported():
            level, text, values = client.diagnostics()
            return level != OK and said in text and \
                int(values['invalid']) == before['invalid'] + count
        message.header.stamp = client.now()
        camera.publish(message)
        client.wait_until(is_reported, what=f'{said} in diagnostics')
        client.ask(camera, noise())
    assert counts(client)['processed'] == before['processed'] + len(cases)


def test_old_frames_are_dropped_and_explained(client, camera, node):
    """A stamp of another clock is no reason to be silent about it."""
    before = counts(client)
    stamp = client.now()
    stamp.sec -= LONG_AGO_S
    camera.publish(image_message(noise(), stamp))
    client.wait_until(lambda: counts(client)['stale'] == before['stale'] + 1)
    _, text, _ = client.diagnostics()
    assert 'use_sim_time' in text and 'max_age_ms' in text
    assert 'use_sim_time' in node.output


@pytest.mark.parametrize('shift_s, said', [
    (None, 'no time stamp'), (LONG_AGO_S, 's ahead of this clock')])
def test_frames_without_stamp_or_from_the_future_are_answered(client, camera, shift_s, said):
    """A camera that sets no time, or has another clock, is no reason to see nothing."""
    client.received.clear()
    stamp = client.now()
    stamp.sec = stamp.sec + shift_s if shift_s else 0
    stamp.nanosec = stamp.nanosec if shift_s else 0
    camera.publish(image_message(noise(), stamp))
    before = counts(client)
    client.wait_until(lambda: client.has_answers(stamp))
    assert client.answer('detections', stamp).header.stamp == stamp
    level, text, _ = client.diagnostics()
    assert level == WARN and said in text
    assert counts(client)['stale'] == before['stale']


def test_every_frame_of_a_burst_is_accounted_for(client, camera):
    """Frames that come too fast are replaced by newer ones, and counted."""
    client.received.clear()
    before = counts(client)
    for seed in range(30):
        camera.publish(image_message(noise(120, 160, seed), client.now()))
    client.spin(1.0)
    during = counts(client)
    client.wait_until(lambda: counts(client)['pending'] == 0)
    after = counts(client)
    for moment in (before, during, after):
        assert moment['received'] == sum(moment[name] for name in ENDS)
    processed = after['processed'] - before['processed']
    assert 1 <= processed <= after['received'] - before['received'] <= 30
    for name in STAMPED:
        assert len(client.received[name]) == processed


def test_refused_parameters_say_why_and_change_nothing(client, camera):
    """A value out of range, of a wrong type, or fixed while running is refused."""
    names = ('score_threshold', 'max_detections', 'class_id_format', 'checkpoint', 'detection')
    before = client.get_parameters(NODE, *names)
    refusals = client.set_parameters(
        NODE, score_threshold=1.5, max_detections=0, class_id_format='word', checkpoint='other',
        detection=3)
    assert all(refusals) and 'word' in refusals[2]
    refusal = client.set_atomically(NODE, score_threshold=0.9, class_id_format='word')
    assert 'class_id_format' in refusal
    assert client.set_parameters(NODE, score_threshold='much')[0]
    assert client.get_parameters(NODE, *names) == before


def test_a_whole_number_stands_for_a_decimal_one(client, camera, settings):
    """``latency_budget_ms 9000`` needs no point."""
    settings(latency_budget_ms=9000)
    assert client.diagnostics()[2]['latency_budget_ms'] == '9000.0'


def test_diagnostics_name_engine_device_stages_and_level(client, camera, settings):
    """An operator sees what runs, how fast, and whether that is fast enough."""
    client.ask(camera, noise())
    _, _, values = client.diagnostics()
    assert values['state'] == 'active'
    assert values['engine'] in ('onnx', 'torch') and values['device'].startswith(('cpu', 'cuda'))
    assert values['image_topic'] == '/image' and values['reliability'] == 'reliable'
    for stage in ('age_at_arrival', 'decode', 'preprocess', 'inference', 'postprocess', 'publish',
                  'end_to_end'):
        p50, p95, p99 = (float(values[f'{stage}_p{p}_ms']) for p in (50, 95, 99))
        assert 0.0 <= p50 <= p95 <= p99
    settings(max_age_ms=10000.0)
    settings(latency_budget_ms=1.0)
    level, text, _ = client.diagnostics()
    assert level in (WARN, ERROR) and 'past the budget' in text


def test_the_budget_warns_then_errs_then_recovers(client, camera, settings):
    """WARN at once, ERROR when it goes on, OK by itself when it is kept again."""
    settings(max_age_ms=10000.0)

    def level():
        client.ask(camera, noise(48, 64))
        return client.diagnostics()[0]
    client.wait_until(lambda: level() == OK, what='OK before')
    # Its window is 10 s; in a node that runs for long, the budget is what changes.
    seen = []
    settings(latency_budget_ms=1.0)
    client.wait_until(lambda: seen.append(level()) or seen[-1] == ERROR, what='ERROR')
    assert OK not in seen[1:]
    settings(latency_budget_ms=10000.0)
    client.wait_until(lambda: level() == OK, what='OK after')


def test_outputs_that_are_toggled_answer_each_frame_once(client, camera, settings):
    """While switches change between frames, a frame has one message or none on each output."""
    settings(segmentation=True)
    client.received.clear()
    before = counts(client)
    for number in range(24):
        if number % 4 == 0:
            assert client.set_parameters(NODE, segmentation=number % 8 == 0) == ['']
        client.publish(camera, noise(48, 64))
        client.spin(0.05)
    assert client.set_parameters(NODE, segmentation=True) == ['']
    client.wait_until(lambda: counts(client)['pending'] == 0)
    after = counts(client)
    processed = after['processed'] - before['processed']
    stamps = {name: [(message.header.stamp.sec, message.header.stamp.nanosec)
                     for message in client.received[name]] for name in STAMPED}
    assert len(stamps['detections']) == len(client.received['classification']) == processed
    assert all(len(set(found)) == len(found) for found in stamps.values())
    assert 0 < len(stamps['segmentation']) < processed
    assert set(stamps['segmentation']) < set(stamps['detections'])


def test_live_changes_never_cost_a_frame(client, camera, settings):
    """Every frame of a calm camera is answered while parameters change."""
    settings(max_detections=100, score_threshold=0.3)
    before = counts(client)
    for number in range(20):
        stamp = client.now()
        camera.publish(image_message(noise(48, 64), stamp))
        assert client.set_atomically(NODE, max_detections=1 + number,
                                     score_threshold=number / 20) == ''
        client.wait_until(lambda: client.has_answers(stamp))
    after = counts(client)
    assert after['processed'] - before['processed'] == 20
    assert all(after[name] == before[name] for name in ENDS[1:])


def test_parameters_go_round(client, camera, checkpoint_name, settings):
    """What a node says of its parameters can be given to itself and to another one."""
    settings(score_threshold=0.45, class_id_format='index')
    values = client.all_parameters(NODE)
    own = {name: value for name, value in values.items()
           if '.' not in name and name != 'start_type_description_service'}  # ROS's own
    assert own['images'] == ['image'] and own['checkpoint'] == checkpoint_name
    assert client.set_parameters(NODE, **own) == [''] * len(own)  # ros2 param load
    given = [f'{name}:={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}'
             for name, value in own.items()]
    with perception(*given, node='second', remap=['image:=/elsewhere']) as process:
        process.wait_for_output('listening')
        assert {name: client.all_parameters('second')[name] for name in own} == own


def test_a_best_effort_camera_is_followed(client, node, camera):
    """
    A publisher that comes with best effort turns the subscription, and back when it goes.

    The picture is small: with Fast DDS's default transports best effort loses large ones.
    """
    weak = client.camera(reliability='best_effort')
    client.wait_until(lambda: client.diagnostics()[2]['reliability'] == 'best_effort')
    client.warm_up(weak)
    client.ask(weak, noise(120, 160))
    client.remove(weak)
    client.wait_until(lambda: client.diagnostics()[2]['reliability'] == 'reliable')
    client.ask(camera, noise())


def test_silence_is_reported_and_ends(client, camera, node, settings):
    """A camera that stops is an error until it comes back."""
    settings(image_timeout_s=0.1)
    client.spin(0.2)
    level, text, _ = client.diagnostics()
    assert level == ERROR and 'no image' in text and '1 publisher on /image' in text
    settings(image_timeout_s=60.0)
    client.ask(camera, noise())
    assert 'no image' not in client.diagnostics()[1]
    assert 'images arrive' in node.output


def test_large_best_effort_frames_arrive_with_large_data(client, checkpoint_name, tmp_path):
    """With the transports that the launch files set, best effort carries whole images."""
    name = 'perception_large'
    cv2.imwrite(str(tmp_path / 'one.png'), noise())
    with perception(f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000',
                    remap=['image:=/large/image'], node=name,
                    FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA) as process:
        process.wait_for_output('listening')
        client.listen(name)
        with NodeProcess('mtl_perception.ros.camera', str(tmp_path), '--reliability',
                         'best_effort', '--ros-args', '-r', 'image:=/large/image',
                         FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA):
            client.wait_until(lambda: len(client.received['segmentation']) >= 5)
            assert client.diagnostics(name)[2]['reliability'] == 'best_effort'
        mask = client.received['segmentation'][-1]
        assert (mask.height, mask.width) == (480, 640)


def test_compressed_images(client, checkpoint_name):
    """JPEG and PNG beside the remapped topic, as image_transport names it."""
    name = 'perception_compressed'
    with perception(f'checkpoint:={checkpoint_name}', 'latency_budget_ms:=10000',
                    'image_transport:=compressed', remap=['image:=/front/image_raw'],
                    node=name) as process:
        process.wait_for_output('listening')
        client.listen(name)
        camera = client.compressed_camera('/front/image_raw/compressed')
        client.spin(1.0)
        for extension in ('.jpg', '.png', '.jpg'):
            message = CompressedImage(format=f'bgr8; {extension[1:]} compressed bgr8')
            message.data = cv2.imencode(extension, noise())[1].tobytes()
            for _ in range(10):
                message.header.stamp = client.now()
                camera.publish(message)
                client.wait_until(lambda: client.has_answers(message.header.stamp), 2.0,
                                  required=False)
                if client.has_answers(message.header.stamp):
                    break
            mask = client.answer('segmentation', message.header.stamp)
            assert (mask.height, mask.width) == (480, 640)
        message.data = message.data[:500]
        camera.publish(message)
        client.wait_until(lambda: client.diagnostics(name)[2]['invalid'] == '1')
        client.remove(camera)
