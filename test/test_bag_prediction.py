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
"""Bags of predictions: whole or not there, complete, and equal to what a live node says."""

from colour_weights import CARD, picture, save_colour_weights
from mtl_perception.bag_prediction import ANSWER_TYPES
from mtl_perception.bags import bag_types, new_bag, open_bag, read_messages
from mtl_perception.cli.predict_bag import main
from mtl_perception.engine import build_engine
from mtl_perception.errors import ConfigError
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
from mtl_perception.messages import OUTPUT_TYPES, read_prediction
import numpy as np
from picture_bags import (
    COMPRESSED, frames, IMAGE, jpeg_image, raw_image, read_bag, run, START_NS, STRING, write_bag)
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_typestore, Stores


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours')


def test_each_picture_is_answered_once_under_its_own_header_and_time(weights, tmp_path):
    text = bag_types().types[STRING]
    source = write_bag(tmp_path / 'drive', {
        '/camera/image_raw': (IMAGE, [raw_image(i, image) for i, image in enumerate(frames())]),
        '/talk': (STRING, [text(data='hello'), text(data='world')])})
    assert run(weights, source, tmp_path / 'seen') == 0
    before, after = read_bag(source), read_bag(tmp_path / 'seen')
    assert set(after) == {'/camera/image_raw', '/talk',
                          *(f'/perception/{name}' for name in ANSWER_TYPES)}
    for topic, messages in before.items():
        assert [(ns, data) for ns, _, data in after[topic]] == \
            [(ns, data) for ns, _, data in messages], f'{topic} is copied byte by byte'
    for name in OUTPUT_TYPES:
        answers = after[f'/perception/{name}']
        assert [ns for ns, _, _ in answers] == [ns for ns, _, _ in before['/camera/image_raw']]
        if name != 'classification':
            assert [message.header for _, message, _ in answers] == \
                [message.header for _, message, _ in after['/camera/image_raw']]
    assert list(tmp_path.glob('*.partial')) == []


def test_a_bag_says_what_the_engine_says(weights, tmp_path):
    source = write_bag(tmp_path / 'drive', {
        '/image': (IMAGE, [raw_image(i, image) for i, image in enumerate(frames())])})
    run(weights, source, tmp_path / 'seen')
    found = read_bag(tmp_path / 'seen')
    engine = build_engine(weights)
    for index, (_, message, _) in enumerate(found['/image']):
        expected = engine.infer(Frame(decode(message)))
        prediction = read_prediction(CARD, *(found[f'/perception/{name}'][index][1] for name in (
            'detections', 'segmentation', 'classification_scores')))
        assert set(prediction.detections.class_ids) == {1, 2}
        np.testing.assert_allclose(prediction.detections.boxes, expected.detections.boxes)
        np.testing.assert_array_equal(prediction.detections.scores, expected.detections.scores)
        np.testing.assert_array_equal(prediction.detections.class_ids,
                                      expected.detections.class_ids)
        np.testing.assert_array_equal(prediction.mask, expected.mask)
        np.testing.assert_array_equal(prediction.class_probabilities,
                                      expected.class_probabilities)
        assert found['/perception/classification'][index][1].data == 'dark'


def test_an_empty_scene_gives_empty_messages(weights, tmp_path):
    source = write_bag(tmp_path / 'drive', {'/image': (IMAGE, [raw_image(0, picture())])})
    run(weights, source, tmp_path / 'seen')
    found = read_bag(tmp_path / 'seen')
    assert found['/perception/detections'][0][1].detections == []
    assert not found['/perception/segmentation'][0][1].data.any()


def test_compressed_cameras_are_read_and_their_raw_twins_once(weights, tmp_path):
    source = write_bag(tmp_path / 'drive', {
        '/front/image_raw': (IMAGE, [raw_image(0, frames()[0], 'front')]),
        '/front/image_raw/compressed': (COMPRESSED, [jpeg_image(0, frames()[0], 'front')]),
        '/rear/image/compressed': (COMPRESSED, [jpeg_image(0, frames()[1], 'rear')])})
    assert run(weights, source, tmp_path / 'seen') == 0
    found = read_bag(tmp_path / 'seen')
    assert [m.header.frame_id for _, m, _ in found['/front/perception/detections']] == ['front']
    assert [m.header.frame_id for _, m, _ in found['/rear/perception/detections']] == ['rear']


def test_other_weights_may_look_at_the_same_bag_again(weights, tmp_path):
    source = write_bag(tmp_path / 'drive', {'/image': (IMAGE, [raw_image(0, frames()[1])])})
    assert run(weights, source, tmp_path / 'once') == 0
    assert run(weights, tmp_path / 'once', tmp_path / 'twice', '--node-name', 'second') == 0
    found = read_bag(tmp_path / 'twice')
    assert set(found) == {'/image', *(f'/perception/{name}' for name in ANSWER_TYPES),
                          *(f'/second/{name}' for name in ANSWER_TYPES)}


def test_pictures_that_cannot_be_decoded_are_skipped_and_counted(weights, tmp_path, capsys):
    broken = raw_image(1, frames()[1])
    broken.encoding = 'purple9'
    source = write_bag(tmp_path / 'drive', {
        '/image': (IMAGE, [raw_image(0, frames()[0]), broken, raw_image(2, frames()[2])])})
    assert run(weights, source, tmp_path / 'seen') == 1
    assert 'lost: 1 pictures skipped, the last because /image' in capsys.readouterr().err
    found = read_bag(tmp_path / 'seen')
    assert len(found['/image']) == 3
    assert len(found['/perception/detections']) == 2


def test_the_types_written_are_vision_msgs_4(weights, tmp_path):
    source = write_bag(tmp_path / 'drive', {'/image': (IMAGE, [raw_image(0, picture())])})
    run(weights, source, tmp_path / 'seen')
    with AnyReader([tmp_path / 'seen']) as reader:
        hashes = {c.topic: reader.typestore.hash_rihs01(c.msgtype) for c in reader.connections}
    assert hashes['/perception/detections'] == (
        'RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968')
    assert hashes['/perception/classification_scores'] == (
        'RIHS01_f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143')


def no_bag(folder):
    (folder / 'notes').mkdir()
    return folder / 'notes'


def text_file(folder):
    (folder / 'notes.txt').write_text('hello')
    return folder / 'notes.txt'


def ros1_bag(folder):
    (folder / 'old.bag').write_bytes(b'#ROSBAG V2.0\n')
    return folder / 'old.bag'


def garbage(folder):
    source = write_bag(folder / 'drive', {'/image': (IMAGE, [raw_image(0, picture())])})
    next(source.glob('*.mcap')).write_bytes(b'\x89MCAP0\r\n' + bytes(range(256)) * 40)
    return source


def only_text(folder):
    return write_bag(folder / 'drive', {
        '/talk': (STRING, [bag_types().types[STRING](data='hello')])})


def only_purple(folder):
    broken = raw_image(0, picture())
    broken.encoding = 'purple9'
    return write_bag(folder / 'drive', {'/image': (IMAGE, [broken])})


def own_output(folder):
    source = write_bag(folder / 'first', {'/image': (IMAGE, [raw_image(0, picture())])})
    weights = save_colour_weights(folder / 'colours')
    assert run(weights, source, folder / 'drive') == 0
    return folder / 'drive'


@pytest.mark.parametrize('make, expected', [
    (lambda folder: folder / 'nothing', 'expected a rosbag2, got nothing'),
    (no_bag, 'without metadata.yaml'), (text_file, 'expected a rosbag2'),
    (ros1_bag, 'rosbags-convert'), (garbage, 'drive'),
    (only_text, '/talk'), (only_purple, 'purple9'), (own_output, 'another node name'),
])
def test_bad_bags_end_in_one_line_and_leave_nothing(weights, tmp_path, capsys, make, expected):
    source = make(tmp_path)
    assert run(weights, source, tmp_path / 'seen') == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith('error: ') and '\n' not in error and expected in error
    assert not (tmp_path / 'seen').exists() and not (tmp_path / 'seen.partial').exists()


@pytest.mark.parametrize('arguments, expected', [
    (['--topic', '/rear'], '/image'), (['--checkpoint', '/no/weights'], 'weights folder'),
    (['--score-threshold', '2'], 'score_threshold'), (['--device', 'tpu'], 'device'),
])
def test_bad_arguments_end_in_one_line(weights, tmp_path, capsys, arguments, expected):
    source = write_bag(tmp_path / 'drive', {'/image': (IMAGE, [raw_image(0, picture())])})
    checkpoint = [] if '--checkpoint' in arguments else ['--checkpoint', str(weights.folder)]
    assert main([str(source), str(tmp_path / 'seen'), *checkpoint, *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert '\n' not in error and expected in error
    assert not (tmp_path / 'seen').exists()


def test_what_is_there_is_never_replaced(weights, tmp_path, capsys):
    source = write_bag(tmp_path / 'drive', {'/image': (IMAGE, [raw_image(0, picture())])})
    (tmp_path / 'seen').mkdir()
    (tmp_path / 'seen' / 'thesis.tex').write_text('years of work')
    assert run(weights, source, tmp_path / 'seen') == 2
    assert 'exists' in capsys.readouterr().err
    assert (tmp_path / 'seen' / 'thesis.tex').read_text() == 'years of work'


def test_a_killed_run_is_no_obstacle_but_other_files_are(tmp_path):
    left = tmp_path / 'seen.partial' / 'seen'
    left.mkdir(parents=True)
    (left / 'seen.mcap').write_bytes(b'half')
    with new_bag(tmp_path / 'seen'):
        pass
    assert (tmp_path / 'seen' / 'metadata.yaml').is_file()
    (tmp_path / 'more.partial').mkdir()
    (tmp_path / 'more.partial' / 'thesis.tex').write_text('years of work')
    with pytest.raises(ConfigError, match='other files'):
        with new_bag(tmp_path / 'more'):
            pass
    assert (tmp_path / 'more.partial' / 'thesis.tex').exists()


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_an_interrupted_bag_is_not_there(tmp_path, error):
    with pytest.raises(error):
        with new_bag(tmp_path / 'seen') as writer:
            connection = writer.add_connection('/talk', STRING, typestore=bag_types())
            writer.write(connection, 1, bag_types().serialize_cdr(
                bag_types().types[STRING](data='hello'), STRING))
            raise error
    assert list(tmp_path.iterdir()) == []


def test_a_bag_without_definitions_is_read(tmp_path):
    """Humble's sqlite3 bags carry none."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(tmp_path / 'old', version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection('/image', IMAGE, typestore=store)
        writer.write(connection, START_NS, store.serialize_cdr(raw_image(0, picture()), IMAGE))
    import sqlite3
    with sqlite3.connect(tmp_path / 'old' / 'old.db3') as database:
        database.execute('DELETE FROM message_definitions')
    with open_bag(tmp_path / 'old') as reader:
        assert [c.topic for c, _, _ in read_messages(reader)] == ['/image']
        assert IMAGE in reader.typestore.fielddefs
