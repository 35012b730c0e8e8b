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
"""Every kind of rosbag2 goes in; what comes out is a whole rosbag2 to every reader."""

from collections import Counter
import sqlite3
import zlib

from colour_weights import picture, save_colour_weights
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Message
from mcap.stream_reader import breakup_chunk, StreamReader
from mtl_perception.bag_prediction import ANSWER_TYPES
from mtl_perception.bags import bag_types
from mtl_perception.messages import OUTPUT_TYPES
import numpy as np
from picture_bags import (
    contents, drive, frames, IMAGE, jpeg_image, raw_image, read_bag, run, START_NS, write_bag)
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
import yaml


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours')


@pytest.fixture(scope='module')
def expected(weights, tmp_path_factory):
    """Return what the drive gives."""
    folder = tmp_path_factory.mktemp('expected')
    assert run(weights, drive(folder / 'drive'), folder / 'seen', '--workers', '1') == 0
    return contents(folder / 'seen')


def plugin(path, storage, mode=CompressionMode.NONE, version=9):
    writer = Writer(path, version=version, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    return drive(path, opened=writer) or path


def split(path, storage=StoragePlugin.MCAP):
    """Write a recording of two files, the second of which begins before the first ends."""
    path.mkdir()
    information, files = None, []
    for index, (start, count) in enumerate(((0, 25), (25, 15))):
        piece = path.parent / f'{path.name}_{index}'
        drive(piece, count, Writer(piece, version=9, storage_plugin=storage), start)
        file = next(item for item in piece.iterdir() if item.suffix in ('.mcap', '.db3'))
        files.append(file.rename(path / file.name).name)
        found = yaml.safe_load((piece / 'metadata.yaml').read_text())[
            'rosbag2_bagfile_information']
        if information is None:
            information = found
        else:
            information['message_count'] += found['message_count']
            information['files'] += found['files']
            for one, other in zip(information['topics_with_message_count'],
                                  found['topics_with_message_count']):
                one['message_count'] += other['message_count']
    information['relative_file_paths'] = files
    information['duration']['nanoseconds'] = 40 * 10**8
    (path / 'metadata.yaml').write_text(
        yaml.safe_dump({'rosbag2_bagfile_information': information}))
    return path


@pytest.mark.parametrize('make', [
    lambda path: plugin(path, StoragePlugin.SQLITE3),
    lambda path: plugin(path, StoragePlugin.SQLITE3, version=8),
    lambda path: plugin(path, StoragePlugin.MCAP),
    lambda path: plugin(path, StoragePlugin.MCAP, CompressionMode.STORAGE),
    lambda path: plugin(path, StoragePlugin.MCAP, CompressionMode.MESSAGE),
    lambda path: plugin(path, StoragePlugin.MCAP, CompressionMode.FILE),
    lambda path: plugin(path, StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    lambda path: plugin(path, StoragePlugin.SQLITE3, CompressionMode.FILE),
    split, lambda path: split(path, StoragePlugin.SQLITE3),
    lambda path: next(plugin(path, StoragePlugin.MCAP).glob('*.mcap')),
    lambda path: next(plugin(path, StoragePlugin.SQLITE3).glob('*.db3')),
], ids=['sqlite3', 'sqlite3 v8', 'mcap', 'mcap chunks', 'mcap messages', 'mcap file',
        'sqlite3 messages', 'sqlite3 file', 'split mcap', 'split sqlite3', 'one mcap', 'one db3'])
def test_each_storage_gives_the_same(weights, expected, tmp_path, make, capsys):
    assert run(weights, make(tmp_path / 'drive'), tmp_path / 'seen') == 0, capsys.readouterr().err
    assert contents(tmp_path / 'seen') == expected
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('arguments', [
    ['--workers', '3'], ['--threads', '2'], ['--workers', '2', '--threads', '4']])
def test_workers_and_threads_change_nothing(weights, expected, tmp_path, arguments):
    assert run(weights, drive(tmp_path / 'drive'), tmp_path / 'seen', *arguments) == 0
    assert contents(tmp_path / 'seen') == expected


def test_predictions_alone(weights, expected, tmp_path):
    assert run(weights, drive(tmp_path / 'drive'), tmp_path / 'seen', '--predictions-only') == 0
    assert contents(tmp_path / 'seen') == {
        topic: messages for topic, messages in expected.items()
        if topic.startswith('/perception/')}


@pytest.fixture(scope='module')
def seen(weights, tmp_path_factory):
    """Return a new bag of a camera with noise, of more than one chunk a part."""
    folder = tmp_path_factory.mktemp('noise')
    noise = np.random.default_rng(0)
    source = write_bag(folder / 'drive', {
        '/front/image_raw': (IMAGE, [
            raw_image(i, noise.integers(0, 255, (200, 300, 3)).astype(np.uint8))
            for i in range(40)]),
        '/rear/image_raw/compressed': (
            'sensor_msgs/msg/CompressedImage', [jpeg_image(i, frames()[0]) for i in range(40)])})
    assert run(weights, source, folder / 'seen', '--workers', '2') == 0
    return folder / 'seen'


def test_mcap_reads_every_message_by_index_and_as_a_stream(seen):
    by_rosbags = Counter({topic: len(messages) for topic, messages in contents(seen).items()})
    file = next(seen.glob('*.mcap'))
    with file.open('rb') as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        indexed = list(reader.iter_messages())
        assert list(reader.iter_attachments()) == []
        assert [record.name for record in reader.iter_metadata()] == ['rosbag2']
    assert Counter(channel.topic for _, channel, _ in indexed) == by_rosbags
    assert {summary.channels[number].topic: count for number, count in
            summary.statistics.channel_message_counts.items()} == by_rosbags
    statistics = summary.statistics
    assert statistics.message_count == len(indexed) == by_rosbags.total()
    assert statistics.chunk_count == len(summary.chunk_indexes) > 4
    assert statistics.channel_count == len(summary.channels) == 2 + 2 * len(ANSWER_TYPES)
    assert statistics.schema_count == len(summary.schemas) == 6, 'one of each type'
    times = [message.log_time for _, _, message in indexed]
    assert (min(times), max(times)) == (statistics.message_start_time,
                                        statistics.message_end_time)
    streamed = []
    with file.open('rb') as stream:
        for record in StreamReader(stream, validate_crcs=True).records:
            if isinstance(record, Message):
                streamed.append((record.log_time, record.channel_id, record.data))
    assert streamed == [(m.log_time, m.channel_id, m.data) for _, _, m in indexed]
    assert [time for time, _, _ in streamed] == sorted(times), 'by time in the file itself'


def test_chunks_have_checksums_and_only_messages_whose_channels_came_before(seen):
    channels = set()
    with next(seen.glob('*.mcap')).open('rb') as stream:
        for record in StreamReader(stream, emit_chunks=True).records:
            if isinstance(record, Channel):
                channels.add(record.id)
            elif isinstance(record, Chunk):
                assert record.uncompressed_crc
                inside = breakup_chunk(record, validate_crc=True)
                assert inside and {message.channel_id for message in inside} <= channels


def test_a_changed_byte_is_noticed(seen, tmp_path):
    content = bytearray(next(seen.glob('*.mcap')).read_bytes())
    content[len(content) // 2] ^= 0xff
    (tmp_path / 'changed.mcap').write_bytes(content)
    with (tmp_path / 'changed.mcap').open('rb') as stream, pytest.raises(Exception):
        list(make_reader(stream, validate_crcs=True).iter_messages())


def test_a_replay_explains_itself(seen, weights):
    with Reader(seen) as reader:
        profiles = {c.topic: c.ext.offered_qos_profiles for c in reader.connections}
        hashes = {c.topic: c.digest for c in reader.connections}
    found = read_bag(seen)
    for head in ('detections', 'segmentation', 'classification'):
        topic = f'/front/perception/{head}/label_info'
        assert [profile.durability.name for profile in profiles[topic]] == ['TRANSIENT_LOCAL']
        (recorded_ns, message, _), = found[topic]
        assert recorded_ns == min(ns for messages in found.values() for ns, _, _ in messages)
        names = {item.class_id: item.class_name for item in message.class_map}
        assert tuple(names.values()) == getattr(weights.card.classes, {
            'detections': 'detection'}.get(head, head))
        assert hashes[topic].startswith('RIHS01_')
    assert found['/front/perception/detections/label_info'][0][1].threshold == \
        pytest.approx(0.3)
    for output in OUTPUT_TYPES:
        profile, = profiles[f'/front/perception/{output}']
        assert (profile.durability.name, profile.reliability.name) == ('VOLATILE', 'RELIABLE')


def test_the_metadata_is_what_every_ros_reads(seen):
    information = yaml.safe_load((seen / 'metadata.yaml').read_text())[
        'rosbag2_bagfile_information']
    assert information['version'] == 8, 'the newest that Humble knows'
    assert '&' not in (seen / 'metadata.yaml').read_text()
    assert all(isinstance(topic['topic_metadata']['offered_qos_profiles'], str)
               for topic in information['topics_with_message_count'])
    assert information['relative_file_paths'] == ['seen.mcap']
    assert information['starting_time']['nanoseconds_since_epoch'] > START_NS


def test_depth_is_no_camera(weights, tmp_path, capsys):
    depth = raw_image(0, np.zeros((4, 4, 3), np.uint8))
    depth.encoding = '32FC1'
    source = write_bag(tmp_path / 'drive', {
        '/colour/image': (IMAGE, [raw_image(0, frames()[0])]), '/depth/image': (IMAGE, [depth])})
    assert run(weights, source, tmp_path / 'seen') == 0
    errors = capsys.readouterr().err
    assert errors.startswith('warning: /depth/image left out') and errors.count('\n') == 1
    assert '/perception/detections' in contents(tmp_path / 'seen')
    assert run(weights, source, tmp_path / 'asked', '--topic', '/depth/image') == 2
    assert '32FC1' in capsys.readouterr().err and not (tmp_path / 'asked').exists()


def test_names_are_checked_once_the_cameras_are_known(weights, tmp_path, capsys):
    """Beside a depth camera one camera is the only one, and its node may have been recorded."""
    depth = raw_image(0, np.zeros((4, 4, 3), np.uint8))
    depth.encoding = '32FC1'
    once = write_bag(tmp_path / 'drive', {'/colour/image': (IMAGE, [raw_image(0, frames()[0])])})
    assert run(weights, once, tmp_path / 'once') == 0
    both = tmp_path / 'both'
    with Writer(both, version=9, storage_plugin=StoragePlugin.MCAP) as writer, \
            Reader(tmp_path / 'once') as reader:
        types = bag_types()
        new = {c.id: writer.add_connection(c.topic, c.msgtype, typestore=types)
               for c in reader.connections}
        for connection, recorded_ns, data in reader.messages():
            writer.write(new[connection.id], recorded_ns, data)
        writer.write(writer.add_connection('/depth/image', IMAGE, typestore=types), START_NS,
                     types.serialize_cdr(depth, IMAGE))
    capsys.readouterr()
    assert run(weights, both, tmp_path / 'twice') == 2
    assert 'another node name' in capsys.readouterr().err
    assert not (tmp_path / 'twice').exists() and not (tmp_path / 'twice.partial').exists()
    assert run(weights, both, tmp_path / 'alone', '--predictions-only') == 0


def grey(index):
    message = raw_image(index, frames()[0])
    message.encoding, message.step = 'mono8', 128
    message.data = np.full(96 * 128, 60, np.uint8)
    return message


def test_encodings_may_differ_and_change(weights, tmp_path, capsys):
    source = write_bag(tmp_path / 'drive', {
        '/left/image': (IMAGE, [raw_image(0, frames()[0]), grey(1), raw_image(2, frames()[2])]),
        '/right/image': (IMAGE, [grey(i) for i in range(3)])})
    assert run(weights, source, tmp_path / 'seen') == 0
    assert capsys.readouterr().err == ('warning: /left/image has pictures of several encodings, '
                                       'each was read as what it is: bgr8, mono8\n')
    found = read_bag(tmp_path / 'seen')
    assert [len(m.detections) for _, m, _ in found['/left/perception/detections']] == [2, 0, 2]
    assert [len(m.detections) for _, m, _ in found['/right/perception/detections']] == [0, 0, 0]


def test_a_type_that_nobody_knows_is_copied_as_it_is(weights, tmp_path, capsys):
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg('int32 wheels', 'our_msgs/msg/Cart'))
    path = tmp_path / 'old'
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        image = writer.add_connection('/image', IMAGE, typestore=store)
        cart = writer.add_connection('/cart', 'our_msgs/msg/Cart', typestore=store)
        writer.write(image, START_NS, store.serialize_cdr(raw_image(0, picture()), IMAGE))
        writer.write(cart, START_NS + 1, store.serialize_cdr(
            store.types['our_msgs/msg/Cart'](wheels=4), 'our_msgs/msg/Cart'))
    with sqlite3.connect(path / 'old.db3') as database:
        database.execute('DELETE FROM message_definitions')  # as Humble writes it
    assert run(weights, path, tmp_path / 'seen') == 0
    assert '/cart (our_msgs/msg/Cart) is copied without a definition' in capsys.readouterr().err
    with Reader(tmp_path / 'seen') as reader:
        found = {c.topic: bytes(data) for c, _, data in reader.messages()}
    assert found['/cart'] == bytes(store.serialize_cdr(
        store.types['our_msgs/msg/Cart'](wheels=4), 'our_msgs/msg/Cart'))
    assert zlib.crc32(found['/image'])
