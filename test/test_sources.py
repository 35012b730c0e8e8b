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
"""Frames come out of folders, videos and bags in order, and bad sources are refused."""

import cv2
from mtl_perception.data.sources import open_frames
from mtl_perception.errors import SourceError
import numpy as np
import pytest


def write_pictures(folder):
    """Write three PNG files, each of one grey."""
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f'{index}.png'), np.full((24, 32, 3), 50 * index, np.uint8))
    return folder


def write_video(path, rate_hz=12.5):
    """Write an mp4 of ten frames that grow brighter."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), rate_hz, (64, 48))
    for index in range(10):
        writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
    writer.release()
    return path


def write_bag(path, storage, topics):
    """Write a rosbag2 with two images on each topic; names with compressed hold JPEGs."""
    rosbag2 = pytest.importorskip('rosbags.rosbag2')
    from rosbags.typesys import get_typestore, Stores
    store = get_typestore(Stores.ROS2_HUMBLE)
    types = store.types
    header = types['std_msgs/msg/Header']
    version = {'sqlite3': 8, 'mcap': 9}[storage]
    plugin = rosbag2.StoragePlugin[storage.upper()]
    with rosbag2.Writer(path, version=version, storage_plugin=plugin) as writer:
        for topic in topics:
            kind = 'CompressedImage' if 'compressed' in topic else 'Image'
            name = f'sensor_msgs/msg/{kind}'
            connection = writer.add_connection(topic, name, typestore=store)
            for index in range(2):
                stamp = types['builtin_interfaces/msg/Time'](7 * (1 - index), index)
                pixels = np.full((4, 5, 3), 100 * index, np.uint8)
                if kind == 'Image':
                    message = types[name](header(stamp, 'lens'), 4, 5, 'bgr8', 0, 15,
                                          pixels.ravel())
                else:
                    message = types[name](header(stamp, 'lens'), 'bgr8; jpeg compressed bgr8',
                                          cv2.imencode('.jpg', pixels)[1].ravel())
                writer.write(connection, 1000 + index, store.serialize_cdr(message, name))
    return path


def test_pictures_of_a_folder_in_the_order_of_their_names(tmp_path):
    """Other files are passed over."""
    folder = write_pictures(tmp_path / 'pictures')
    (folder / 'notes.txt').write_text('no picture')
    frames = list(open_frames(folder))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 50, 100]
    assert {frame.stamp_ns for frame in frames} == {0}
    assert [frame.image.shape for frame in open_frames(folder / '1.png')] == [(24, 32, 3)]


def test_a_video_runs_from_zero(tmp_path):
    """Stamps are frames over rate."""
    frames = list(open_frames(write_video(tmp_path / 'film.mp4')))
    assert [frame.stamp_ns for frame in frames] == [index * 80_000_000 for index in range(10)]
    levels = [float(frame.image.mean()) for frame in frames]
    assert levels == sorted(levels) and levels[-1] > levels[0] + 100


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
@pytest.mark.parametrize('topic', ['/camera/image_raw', '/camera/image_raw/compressed'])
def test_a_bag_keeps_stamp_and_frame_id(tmp_path, storage, topic):
    """A frame without stamp has the time of its recording."""
    bag = write_bag(tmp_path / 'bag', storage, [topic])
    frames = list(open_frames(bag))
    assert [frame.stamp_ns for frame in frames] == [7 * 10**9, 1]
    assert {frame.frame_id for frame in frames} == {'lens'}
    assert [round(float(frame.image.mean())) for frame in frames] == [0, 100]


def test_a_bag_with_several_image_topics_needs_a_name(tmp_path):
    """The error lists what there is."""
    bag = write_bag(tmp_path / 'bag', 'mcap', ['/a', '/b'])
    with pytest.raises(SourceError, match=r'one image topic.*\[/a, /b\]'):
        open_frames(bag)
    with pytest.raises(SourceError, match=r'expected /c, got.*\[/a, /b\]'):
        open_frames(bag, '/c')
    assert len(list(open_frames(bag, '/b'))) == 2


def nothing(path):
    """Write nothing."""


def empty_folder(path):
    """Make an empty folder."""
    path.mkdir()


def text_file(path):
    """Write a file that is neither picture nor video."""
    path.write_text('neither picture nor video')


def bad_metadata(path):
    """Make a folder that looks like a bag."""
    path.mkdir()
    (path / 'metadata.yaml').write_text('no metadata')


@pytest.mark.parametrize('name, make', [
    ('missing', nothing), ('empty', empty_folder), ('notes.txt', text_file),
    ('film.mp4', text_file), ('picture.png', text_file), ('bag.mcap', text_file),
    ('bag.db3', text_file), ('bag', bad_metadata)])
def test_what_is_no_source_is_refused_in_one_line(tmp_path, name, make):
    """The error names the path and what was expected."""
    make(tmp_path / name)
    with pytest.raises(SourceError, match='expected') as caught:
        list(open_frames(tmp_path / name))
    assert name in str(caught.value) and '\n' not in str(caught.value)


def test_no_source_and_no_camera():
    """An empty name and a device that is not there."""
    for source in ('', '/dev/video63'):
        with pytest.raises(SourceError, match='does not exist'):
            open_frames(source)


def test_a_picture_that_goes_bad_is_named(tmp_path):
    """A folder is not read silently past a broken file."""
    folder = write_pictures(tmp_path / 'pictures')
    (folder / '1.png').write_bytes(b'')
    frames = open_frames(folder)
    next(frames)
    with pytest.raises(SourceError, match='1.png'):
        next(frames)
