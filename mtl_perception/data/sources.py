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
"""Frames from pictures, a video, a bag or a camera, one after the other."""

from contextlib import ExitStack
import os
from pathlib import Path
import re
import time
from typing import Iterator, List, Union

import cv2
from mtl_perception.errors import ImageError, SourceError
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
import numpy as np

PICTURE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.ppm', '.tif', '.tiff')
BAG_SUFFIXES = ('.mcap', '.db3', '.bag')
EXPECTED = 'expected a picture, a folder of pictures, a video, a bag or /dev/videoN'


def open_frames(source: Union[str, Path], topic: str = '') -> Iterator[Frame]:
    """
    Return the frames of a picture, a folder of pictures, a video, a bag or a camera.

    The source is opened at once, its frames are read as they are asked for. Stamps are a bag's
    own, a video's from its start on, a camera's time of arrival, and 0 for pictures.

    :param source: a path; ``/dev/videoN`` is a camera
    :param topic: which of a bag's images; not needed where it has one image topic
    :raises SourceError: if there is no such source or it has no frame, and later if a frame
        cannot be read
    """
    path = Path(source)
    if not str(source) or not path.exists():
        raise SourceError(f'{EXPECTED}, got {str(source)!r}, which does not exist')
    if re.fullmatch(r'/dev/video\d+', str(path)):
        return _open_camera(path)
    if path.suffix.lower() in BAG_SUFFIXES or (path / 'metadata.yaml').is_file():
        return _open_bag(path, topic)
    if path.is_dir():
        return _open_pictures(path)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _read_pictures([path])
    return _open_video(path)


def _open_pictures(folder: Path) -> Iterator[Frame]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise SourceError(
            f'{folder}: expected pictures ({" ".join(PICTURE_SUFFIXES)}) or a rosbag2, got none')
    return _read_pictures(paths)


def _read_pictures(paths: List[Path]) -> Iterator[Frame]:
    for path in paths:
        try:
            content = np.fromfile(path, np.uint8)
        except OSError as error:
            raise SourceError(f'{path}: cannot be read: {error.strerror}') from None
        image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
        if image is None:
            raise SourceError(f'{path}: expected a picture, got {content.size} bytes of none')
        yield Frame(image)


def _open_video(path: Path) -> Iterator[Frame]:
    # Of a file that is no video, FFmpeg would print its own account beside the error.
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(f'{EXPECTED}, got {str(path)!r}, which is none of them')
    return _read_video(path, capture)


def _read_video(path: Path, capture: cv2.VideoCapture) -> Iterator[Frame]:
    read, image = capture.read()
    if not read:
        raise SourceError(f'{path}: expected a video with frames, got none that can be decoded')
    rate_hz = capture.get(cv2.CAP_PROP_FPS) or 30.0
    count = 0
    while read:
        yield Frame(image, round(count * 1e9 / rate_hz))
        count += 1
        read, image = capture.read()
    capture.release()


def _open_camera(path: Path) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(
            f'{path}: expected a camera that can be opened; is it in use, may this user read it?')
    # An old picture in the driver's queue is worth less than none.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return _read_camera(path, capture)


def _read_camera(path: Path, capture: cv2.VideoCapture) -> Iterator[Frame]:
    while True:
        read, image = capture.read()
        if not read:
            raise SourceError(f'{path}: the camera gives no more pictures; is it unplugged?')
        yield Frame(image, time.time_ns())


def _open_bag(path: Path, topic: str) -> Iterator[Frame]:
    try:
        from mtl_perception.bags import IMAGE_TYPES, open_bag
    except ImportError:
        raise SourceError(
            f'{path}: expected the package rosbags to read a bag; pip install rosbags') from None
    opened = ExitStack()
    reader = opened.enter_context(open_bag(path))
    images = {connection.topic: connection for connection in reader.connections
              if connection.msgtype in IMAGE_TYPES}
    chosen = [topic] if topic else list(images)
    if len(chosen) != 1 or chosen[0] not in images:
        opened.close()
        raise SourceError(
            f'{path}: expected {topic or "one image topic"}, got the image topics '
            f'[{", ".join(sorted(images))}]; name one of them')
    return _read_bag(opened, reader, images[chosen[0]])


def _read_bag(opened: ExitStack, reader, connection) -> Iterator[Frame]:
    from mtl_perception.bags import read_messages
    from rosbags.highlevel import AnyReaderError
    with opened:
        for _, recorded_ns, data in read_messages(reader, [connection]):
            try:
                message = reader.deserialize(data, connection.msgtype)
                image = decode(message)
            except (ImageError, AnyReaderError) as error:
                raise SourceError(f'{reader.paths[0]}: {connection.topic}: {error}') from None
            stamp = message.header.stamp
            yield Frame(image, stamp.sec * 10**9 + stamp.nanosec or recorded_ns,
                        message.header.frame_id)
