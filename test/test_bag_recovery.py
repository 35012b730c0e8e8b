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
"""A damaged bag gives what can be read of it, and the user is told what was lost."""

import re
import struct

from colour_weights import save_colour_weights
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer as McapWriter
from mtl_perception.bags import bag_types
import numpy as np
from picture_bags import contents, drive, IMAGE, raw_image, run, START_NS, STRING, write_bag
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

COUNT = 40


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours')


def noise(path, storage=StoragePlugin.MCAP, mode=CompressionMode.NONE):
    """Write a bag of pictures that no compression makes small, and of words."""
    random = np.random.default_rng(0)
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    text = bag_types().types[STRING]
    return write_bag(path, {
        '/image': (IMAGE, [raw_image(i, random.integers(0, 255, (96, 128, 3)).astype(np.uint8))
                           for i in range(COUNT)]),
        '/talk': (STRING, [text(data=str(i)) for i in range(COUNT)])}, writer)


def chunked(path, compression=CompressionType.ZSTD):
    """Write an mcap of small chunks, each with a checksum, as recorders do."""
    source = noise(path.parent / f'{path.name}_plain')
    path.mkdir()
    with next(source.glob('*.mcap')).open('rb') as old, \
            (path / f'{path.name}_0.mcap').open('wb') as new:
        reader = make_reader(old)
        writer = McapWriter(new, chunk_size=100_000, compression=compression)
        writer.start('ros2')
        schemas = {s.id: writer.register_schema(s.name, s.encoding, s.data)
                   for s in reader.get_summary().schemas.values()}
        channels = {c.id: writer.register_channel(c.topic, c.message_encoding,
                                                  schemas[c.schema_id], c.metadata)
                    for c in reader.get_summary().channels.values()}
        for _, channel, message in reader.iter_messages():
            writer.add_message(channels[channel.id], message.log_time, message.data,
                               message.publish_time)
        writer.finish()
    (path / 'metadata.yaml').write_bytes((source / 'metadata.yaml').read_bytes().replace(
        source.name.encode() + b'.mcap', path.name.encode() + b'_0.mcap'))
    return path


def file_of(bag):
    return next(item for item in bag.iterdir() if item.name != 'metadata.yaml')


def cut(bag, share=0.5):
    file = file_of(bag)
    file.write_bytes(file.read_bytes()[:int(file.stat().st_size * share)])
    return bag


def chunk_places(file):
    with file.open('rb') as stream:
        return [(c.chunk_start_offset, c.chunk_length)
                for c in make_reader(stream).get_summary().chunk_indexes]


def corrupt_chunk(bag, which=3):
    file = file_of(bag)
    start, length = chunk_places(file)[which]
    content = bytearray(file.read_bytes())
    content[start + length // 2:start + length // 2 + 200] = bytes(200)
    file.write_bytes(content)
    return bag


def corrupt_length(bag):
    """Make a record claim more than the file has."""
    file = file_of(bag)
    start, _ = chunk_places(file)[3]
    content = bytearray(file.read_bytes())
    content[start + 1:start + 9] = struct.pack('<Q', 2**60)
    file.write_bytes(content)
    return bag


def without_footer(bag):
    """Leave what a recorder that was killed leaves: all data, no index, no metadata."""
    file = file_of(bag)
    content = file.read_bytes()
    start, length = chunk_places(file)[-1]
    file.write_bytes(content[:start + length])
    (bag / 'metadata.yaml').unlink()
    return bag


def without_metadata(bag):
    (bag / 'metadata.yaml').unlink()
    return bag


def check(weights, bag, folder, capsys, least, most):
    """Predict for what is left and return what the user is told."""
    assert run(weights, bag, folder / 'seen') == 1, capsys.readouterr().err
    told = capsys.readouterr().err
    assert all(line.startswith('lost: ') for line in told.splitlines()), told
    found = contents(folder / 'seen')
    assert least <= len(found['/image']) <= most, (len(found['/image']), told)
    assert len(found['/perception/detections']) == len(found['/image'])
    whole = contents(noise(folder / 'whole'))
    for topic in ('/image', '/talk'):
        assert set(found[topic]) <= set(whole[topic]), 'nothing is made up'
        assert [ns for ns, _ in found[topic]] == sorted(ns for ns, _ in found[topic])
    assert not (folder / 'seen.partial').exists()
    return told


@pytest.mark.parametrize('compression', list(CompressionType))
def test_a_truncated_mcap_gives_its_beginning(weights, tmp_path, capsys, compression):
    bag = cut(chunked(tmp_path / 'drive', compression))
    told = check(weights, bag, tmp_path, capsys, COUNT // 2 - 4, COUNT // 2 + 4)
    assert re.search(r'nothing can be read from byte \d+ to \d+', told)
    assert re.search(r'drive: \d+ of 80 messages could be read', told)


def test_a_corrupt_chunk_costs_its_own_messages_only(weights, tmp_path, capsys):
    told = check(weights, corrupt_chunk(chunked(tmp_path / 'drive')), tmp_path, capsys,
                 COUNT - 5, COUNT - 1)
    assert 'drive_0.mcap: damaged from byte' in told


def test_a_corrupt_length_costs_nothing(weights, tmp_path, capsys):
    """The index at the end leads past it."""
    assert run(weights, corrupt_length(chunked(tmp_path / 'drive')), tmp_path / 'seen') == 0
    assert capsys.readouterr().err == ''
    assert len(contents(tmp_path / 'seen')['/image']) == COUNT
    bag = corrupt_chunk(corrupt_length(chunked(tmp_path / 'other')), 6)
    told = check(weights, bag, tmp_path / 'o', capsys, COUNT - 5, COUNT - 1)
    assert 'nothing can be read from byte' in told and 'damaged from byte' in told


@pytest.mark.parametrize('leave', [without_footer, without_metadata])
def test_an_unfinished_recording_gives_all_of_it(weights, tmp_path, capsys, leave):
    told = check(weights, leave(chunked(tmp_path / 'drive')), tmp_path, capsys, COUNT, COUNT)
    assert '80 messages could be read' in told


def test_one_mcap_without_its_end(weights, tmp_path, capsys):
    bag = without_footer(chunked(tmp_path / 'drive'))
    check(weights, file_of(bag), tmp_path, capsys, COUNT, COUNT)


def test_sqlite_cut_in_half(weights, tmp_path, capsys):
    bag = cut(noise(tmp_path / 'drive', StoragePlugin.SQLITE3))
    told = check(weights, bag, tmp_path, capsys, COUNT // 2 - 4, COUNT // 2 + 1)
    assert 'drive.db3: damaged after message' in told


def test_sqlite_with_a_damaged_page(weights, tmp_path, capsys):
    bag = noise(tmp_path / 'drive', StoragePlugin.SQLITE3)
    content = bytearray(file_of(bag).read_bytes())
    # Some page in the middle: of a picture it changes pixels, of the tree it hides messages.
    for page in range(len(content) // 4096 // 3, len(content) // 4096 // 2):
        if content[page * 4096] == 13:  # a leaf
            content[page * 4096:page * 4096 + 4096] = b'\xff' * 4096
            break
    else:
        pytest.fail('no leaf page')
    file_of(bag).write_bytes(content)
    told = check(weights, bag, tmp_path, capsys, COUNT // 2, COUNT - 1)
    assert 'drive.db3: damaged after message' in told


def test_sqlite_without_metadata(weights, tmp_path, capsys):
    bag = without_metadata(noise(tmp_path / 'drive', StoragePlugin.SQLITE3))
    check(weights, bag, tmp_path, capsys, COUNT, COUNT)


@pytest.mark.parametrize('storage', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize('mode', [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_bags_cut_in_half(weights, tmp_path, capsys, storage, mode):
    if storage is StoragePlugin.MCAP and mode is CompressionMode.FILE:
        bag = cut(noise(tmp_path / 'drive', storage, mode), 0.6)  # chunks of a MB
        check(weights, bag, tmp_path, capsys, 10, 30)
    else:
        bag = cut(noise(tmp_path / 'drive', storage, mode))
        check(weights, bag, tmp_path, capsys, COUNT // 2 - 8, COUNT // 2 + 8)


def test_a_topic_that_is_not_cdr_is_left_out(weights, tmp_path, capsys):
    source = drive(tmp_path / 'plain', 3)
    with file_of(source).open('rb') as old, (tmp_path / 'odd.mcap').open('wb') as new:
        reader = make_reader(old)
        writer = McapWriter(new)
        writer.start('ros2')
        odd = writer.register_channel('/odd', 'json', writer.register_schema('', '', b''))
        writer.add_message(odd, START_NS, b'{}', START_NS)
        for schema, channel, message in reader.iter_messages():
            writer.add_message(writer.register_channel(
                channel.topic, 'cdr',
                writer.register_schema(schema.name, schema.encoding, schema.data)),
                message.log_time, message.data, message.log_time)
        writer.finish()
    status = run(weights, tmp_path / 'odd.mcap', tmp_path / 'seen')
    told = capsys.readouterr().err
    assert (status, '/odd' in told) == (1, True), told
    assert '/odd' not in contents(tmp_path / 'seen')
    assert len(contents(tmp_path / 'seen')['/talk']) == 3


@pytest.mark.parametrize('kind', ['mcap', 'sqlite3'])
def test_any_damage_ends_in_lines_for_the_user(weights, tmp_path, capsys, kind):
    bag = chunked(tmp_path / 'drive') if kind == 'mcap' \
        else noise(tmp_path / 'drive', StoragePlugin.SQLITE3)
    whole = file_of(bag).read_bytes()
    random = np.random.default_rng(1)
    statuses = []
    for trial in range(25):
        content = bytearray(whole)
        place = int(random.integers(len(content)))
        if trial % 3:
            span = int(random.integers(1, 5000))
            content[place:place + span] = random.integers(
                0, 256, len(content[place:place + span]), np.uint8).tobytes()
        else:
            del content[place:]
        file_of(bag).write_bytes(content)
        output = tmp_path / f'seen_{trial}'
        statuses.append(run(weights, bag, output))
        told = capsys.readouterr().err
        assert statuses[-1] in (0, 1, 2), told
        assert output.exists() == (statuses[-1] < 2)
        assert not output.with_name(f'{output.name}.partial').exists()
        assert all(line.startswith(('lost: ', 'error: ', 'warning: '))
                   for line in told.splitlines()), told
    assert 1 in statuses
