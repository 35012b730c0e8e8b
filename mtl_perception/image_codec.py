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
"""
From a message's bytes to a picture: the one way.

Messages are read by their fields, so those of a ROS installation and those of rosbags both do.
What can be got wrong (sizes, padding, byte order, 16 bits) is settled here; colours are converted
by cv_bridge where ROS provides it and by rosbags-image elsewhere, and both are handed the same
plain 8-bit picture, so that both give the same answer.
"""

from dataclasses import dataclass
from functools import lru_cache
import struct
import sys
from types import SimpleNamespace
from typing import Any, Callable, Dict, Optional, Tuple

import cv2
from mtl_perception.errors import ImageError
import numpy as np

ColourConverter = Callable[[Any, str], np.ndarray]


@dataclass(frozen=True)
class _Packed:
    """
    How an encoding lays a picture out, row by row.

    :param plain: the 8-bit encoding that its high bytes are
    :param channels: values of a pixel
    :param bytes_each: bytes of a value
    """

    plain: str
    channels: int
    bytes_each: int = 1


_PACKED: Dict[str, _Packed] = {
    'bgr8': _Packed('bgr8', 3), 'rgb8': _Packed('rgb8', 3),
    'bgra8': _Packed('bgra8', 4), 'rgba8': _Packed('rgba8', 4),
    'bgr16': _Packed('bgr8', 3, 2), 'rgb16': _Packed('rgb8', 3, 2),
    'bgra16': _Packed('bgra8', 4, 2), 'rgba16': _Packed('rgba8', 4, 2),
    'mono8': _Packed('mono8', 1), 'mono16': _Packed('mono8', 1, 2),
    '8UC1': _Packed('mono8', 1), '16UC1': _Packed('mono8', 1, 2),
    '8UC3': _Packed('bgr8', 3), '8UC4': _Packed('bgra8', 4),
    '16UC3': _Packed('bgr8', 3, 2), '16UC4': _Packed('bgra8', 4, 2),
    'yuv422': _Packed('yuv422', 2), 'uyvy': _Packed('yuv422', 2),
    'yuv422_yuy2': _Packed('yuv422_yuy2', 2), 'yuyv': _Packed('yuv422_yuy2', 2),
}
for _order in ('rggb', 'bggr', 'gbrg', 'grbg'):
    _PACKED[f'bayer_{_order}8'] = _Packed(f'bayer_{_order}8', 1)
    _PACKED[f'bayer_{_order}16'] = _Packed(f'bayer_{_order}8', 1, 2)

# A plane of brightness, then one of interleaved colour.
_PLANAR = {'nv12': cv2.COLOR_YUV2BGR_NV12, 'nv21': cv2.COLOR_YUV2BGR_NV21, 'nv24': None}

# A few bytes may claim a picture that fills the memory; 8K video has half of this.
MAX_COMPRESSED_PIXELS = 1 << 26
_JPEG_FRAMES = frozenset(range(0xc0, 0xd0)) - {0xc4, 0xc8, 0xcc}
_JPEG_ALONE = frozenset([0x00, 0x01, *range(0xd0, 0xda)])  # markers without a length
_PNG_START = b'\x89PNG\r\n\x1a\n'
_PNG_HEADER = struct.Struct('>16xII')  # width and height are the first of the first chunk
_PNG_CHUNK, _PNG_CHECKSUM_SIZE = struct.Struct('>I4s'), 4


def _ros_converter() -> Optional[ColourConverter]:
    """Return cv_bridge's conversion, or None where ROS does not provide a working one."""
    try:
        # PyPI has a ROS 1 package of the same name; only ROS's own is in the ament index.
        from ament_index_python.packages import get_package_prefix
        get_package_prefix('cv_bridge')
        from cv_bridge import CvBridge
        convert = CvBridge().imgmsg_to_cv2
        # Its compiled half may have been built for another NumPy; only use shows it.
        convert(_plain_message(np.zeros((1, 1), np.uint8), 'mono8'), 'bgr8')
        return convert
    except (ImportError, LookupError, OSError, AttributeError):
        return None


def _rosbags_converter() -> ColourConverter:
    """Return rosbags-image's conversion."""
    try:
        from rosbags.image import image_to_cvimage
    except ImportError:
        raise ImageError('expected cv_bridge (of ROS) or rosbags-image to convert colours, got '
                         'neither; pip install rosbags-image') from None
    return image_to_cvimage


@lru_cache(maxsize=None)
def _converter() -> ColourConverter:
    return _ros_converter() or _rosbags_converter()


def _plain_message(pixels: np.ndarray, encoding: str) -> SimpleNamespace:
    height, width = pixels.shape[:2]
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, step=pixels.nbytes // height,
        is_bigendian=int(sys.byteorder == 'big'), data=pixels.data)


def _rows(message, rows: int, row_bytes: int) -> np.ndarray:
    """Return the data as uint8 ``[rows, step]``, without a copy, once its size is right."""
    step, size = message.step, len(message.data)
    name = f'{message.encoding} {message.width}x{message.height}'
    if step < row_bytes:
        raise ImageError(f'{name}: expected a step of at least {row_bytes} bytes, got {step}')
    if size != step * rows:
        raise ImageError(
            f'{name}: expected {rows} rows of {step} bytes = {step * rows} bytes, got {size}; '
            'the data is cut short or the step is wrong')
    return np.frombuffer(message.data, np.uint8).reshape(rows, step)


def _decode_planar(message) -> np.ndarray:
    height, width = message.height, message.width
    if message.encoding == 'nv24':
        # OpenCV has no such conversion, but it is NV12 of a picture with every pixel doubled.
        rows = _rows(message, 3 * height, width)
        brightness = rows[:height, :width].repeat(2, axis=0).repeat(2, axis=1)
        colour = rows[height:].reshape(height, -1)[:, :2 * width]
        doubled = cv2.cvtColor(np.vstack([brightness, colour]), cv2.COLOR_YUV2BGR_NV12)
        return np.ascontiguousarray(doubled[::2, ::2])
    if height % 2 or width % 2:
        raise ImageError(f'{message.encoding}: expected an even size, got {width}x{height}; '
                         'crop the picture in the camera driver')
    rows = _rows(message, height + height // 2, width)[:, :width]
    return cv2.cvtColor(np.ascontiguousarray(rows), _PLANAR[message.encoding])


def _decode_packed(message) -> np.ndarray:
    layout = _PACKED[message.encoding]
    height, width = message.height, message.width
    if layout.plain.startswith('yuv422') and width % 2:
        raise ImageError(f'{message.encoding}: expected an even width, got {width}x{height}; '
                         'crop the picture in the camera driver')
    if layout.plain.startswith('bayer') and min(width, height) < 3:
        # OpenCV has no neighbours to take the other colours from, and answers black.
        raise ImageError(f'{message.encoding}: expected at least 3x3 pixels, got {width}x{height}')
    row_bytes = width * layout.channels * layout.bytes_each
    rows = _rows(message, height, row_bytes)[:, :row_bytes]
    if layout.bytes_each == 2:
        rows = rows[:, 1 - bool(message.is_bigendian)::2]
    pixels = np.ascontiguousarray(rows)
    if layout.channels > 1:
        pixels = pixels.reshape(height, width, layout.channels)
    if layout.plain == 'bgr8':
        return pixels
    return _converter()(_plain_message(pixels, layout.plain), 'bgr8')


def _jpeg_size(data: bytes) -> Optional[Tuple[int, int]]:
    """Return (width, height) of the frame that follows, None where there is none."""
    place = data.find(b'\xff', 2)
    while 0 <= place <= len(data) - 9:
        marker = data[place + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from('>HH', data, place + 5)
            return width, height
        if marker == 0xff:  # padding
            place += 1
        elif marker in _JPEG_ALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2:place + 4], 'big')
        place = data.find(b'\xff', place)
    return None


def _png_size(data: bytes) -> Optional[Tuple[int, int]]:
    """Return (width, height) of a PNG whose chunks are all there, else None."""
    # The decoder takes memory for what a chunk says that it holds: 4 GB where that is damaged.
    place = len(_PNG_START)
    while place + _PNG_CHUNK.size <= len(data):
        length, kind = _PNG_CHUNK.unpack_from(data, place)
        if kind == b'IEND' and not length:
            return _PNG_HEADER.unpack_from(data) if len(data) >= _PNG_HEADER.size else None
        place += _PNG_CHUNK.size + length + _PNG_CHECKSUM_SIZE
    return None


def _compressed_size(data: bytes) -> Optional[Tuple[int, int]]:
    """Return (width, height) of a JPEG or PNG that has its end, None of anything else."""
    # The decoders fill with grey what is cut off.
    if data.startswith(b'\xff\xd8') and data.rfind(b'\xff\xd9') > data.rfind(b'\xff\xda'):
        return _jpeg_size(data)
    return _png_size(data) if data.startswith(_PNG_START) else None


def _decode_compressed(message) -> np.ndarray:
    if 'compressedDepth' in message.format:
        raise ImageError(f'expected a colour picture, got format {message.format[:40]!r} (depth)')
    data = bytes(message.data)
    picture = None
    size = _compressed_size(data)
    if size is not None:
        width, height = size
        if width * height > MAX_COMPRESSED_PIXELS:
            raise ImageError(
                f'expected a compressed picture of at most {MAX_COMPRESSED_PIXELS} pixels, got '
                f'{width}x{height} in {len(data)} bytes; nothing was decoded')
        try:
            # A camera's frame has the camera's orientation, whatever its file header says.
            picture = cv2.imdecode(np.frombuffer(data, np.uint8),
                                   cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:
            picture = None
    if picture is None:
        raise ImageError(
            f'expected a whole JPEG or PNG picture, got {len(data)} bytes of format '
            f'{message.format[:40]!r} that are none')
    return picture


def decode(message) -> np.ndarray:
    """
    Return the picture of a ``sensor_msgs`` Image or CompressedImage.

    Every encoding that carries colour or grey is read: ``bgr8 rgb8 bgra8 rgba8 mono8``, the same
    with 16 bits, ``bayer_*8``, ``bayer_*16``, ``yuv422`` (``uyvy``), ``yuv422_yuy2`` (``yuyv``),
    ``nv12 nv21 nv24``, ``8UC1 8UC3 8UC4 16UC1 16UC3 16UC4`` (OpenCV's order, BGR); of 16 bits the
    upper 8 are kept. Compressed pictures are JPEG or PNG of at most ``MAX_COMPRESSED_PIXELS``.

    :param message: of ROS or rosbags; read by its fields
    :return: uint8 ``[H, W, 3]``, BGR, contiguous; a view of the message's data where that is the
        same bytes (``bgr8`` without padding)
    :raises ImageError: if the encoding carries no picture or the sizes contradict the data
    """
    if hasattr(message, 'format'):
        return _decode_compressed(message)
    if message.height < 1 or message.width < 1:
        raise ImageError(
            f'expected at least one pixel, got a picture of {message.width}x{message.height}')
    if message.encoding in _PACKED:
        return _decode_packed(message)
    if message.encoding in _PLANAR:
        return _decode_planar(message)
    raise ImageError(
        f'expected an encoding of colour or grey ({", ".join(sorted([*_PACKED, *_PLANAR]))}), '
        f'got {message.encoding[:40]!r}; choose one in the camera driver')
