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
"""Pictures in every encoding of sensor_msgs, laid out byte by byte, and what they show."""

import array
from dataclasses import dataclass
import re
from typing import Set, Tuple

import numpy as np

BAYER = tuple(f'bayer_{order}' for order in ('rggb', 'bggr', 'gbrg', 'grbg'))
ANSWERED = (
    'rgb8', 'rgba8', 'rgb16', 'rgba16', 'bgr8', 'bgra8', 'bgr16', 'bgra16', 'mono8', 'mono16',
    '8UC1', '8UC3', '8UC4', '16UC1', '16UC3', '16UC4',
    *(f'{name}{bits}' for name in BAYER for bits in (8, 16)),
    'uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2', 'nv12', 'nv21', 'nv24')
# Signed, fractional or paired numbers are measurements; nothing says how bright they are.
REFUSED = ('8UC2', '16UC2', *(f'{depth}C{channels}' for depth in
                              ('8S', '16S', '32S', '32F', '64F') for channels in (1, 2, 3, 4)))
# Where the picture's red, green, blue lie; None is what a picture does not show.
ORDERS = {'rgb': (0, 1, 2), 'rgba': (0, 1, 2, None), 'bgr': (2, 1, 0), 'bgra': (2, 1, 0, None),
          '8UC3': (2, 1, 0), '8UC4': (2, 1, 0, None), '16UC3': (2, 1, 0),
          '16UC4': (2, 1, 0, None), 'mono': (0,), '8UC1': (0,), '16UC1': (0,)}
COLOUR = (200, 120, 40)  # of a mosaic: red, green, blue


@dataclass(frozen=True)
class Sample:
    """
    A picture in an encoding.

    :param encoding: of sensor_msgs
    :param planes: uint8 arrays of the rows' bytes, one below the other
    :param bgr: uint8 ``[H, W, 3]`` that it shows
    :param tolerance: of each value, for encodings that round
    """

    encoding: str
    planes: Tuple[np.ndarray, ...]
    bgr: np.ndarray
    tolerance: int = 0
    is_bigendian: bool = False

    def fields(self, padding: int = 0) -> dict:
        """Return the fields of an Image with some bytes behind each row of the first plane."""
        height, width = self.bgr.shape[:2]
        step = self.planes[0].shape[1] + padding
        data = b''
        for plane in self.planes:
            behind = padding * plane.shape[1] // self.planes[0].shape[1]
            data += np.pad(plane, ((0, 0), (0, behind)), constant_values=99).tobytes()
        return {'height': height, 'width': width, 'encoding': self.encoding, 'step': step,
                'is_bigendian': int(self.is_bigendian), 'data': array.array('B', data)}


def takes(encoding: str, height: int, width: int) -> bool:
    """Tell whether an encoding can hold a picture of that size."""
    if encoding in ('nv12', 'nv21'):
        return height % 2 == width % 2 == 0
    if encoding.startswith('bayer'):
        return min(height, width) >= 3
    return not encoding.startswith(('yu', 'uy')) or width % 2 == 0


def sample(encoding: str, height: int, width: int, is_bigendian: bool = False) -> Sample:
    """Return random pixels (a mosaic: one colour) in an encoding."""
    rng = np.random.default_rng(height * 10007 + width)
    if encoding.startswith(('yu', 'uy', 'nv')):
        return _yuv(encoding, rng, height, width)
    if encoding.startswith('bayer'):
        level = dict(zip('rgb', COLOUR))
        tile = np.array([level[name] for name in encoding[6:10]], np.uint8).reshape(2, 2)
        values = np.tile(tile, (height // 2 + 1, width // 2 + 1))[:height, :width]
        rgb = np.broadcast_to(np.array(COLOUR, np.uint8), (height, width, 3))
    else:
        rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
        order = ORDERS.get(encoding) or ORDERS[encoding.rstrip('0123456789')]
        if len(order) == 1:
            rgb = np.repeat(rgb[:, :, :1], 3, axis=2)
        hidden = rng.integers(0, 256, (height, width), np.uint8)
        values = np.stack([hidden if place is None else rgb[:, :, place] for place in order],
                          axis=2).reshape(height, -1)
    if '16' in encoding:  # the lower bytes are noise
        noise = rng.integers(0, 256, values.shape, np.uint8)
        pair = (values, noise) if is_bigendian else (noise, values)
        values = np.stack(pair, axis=2).reshape(height, -1)
    return Sample(encoding, (values,), rgb[:, :, ::-1], is_bigendian=is_bigendian)


def _yuv(encoding: str, rng, height: int, width: int) -> Sample:
    """Return a picture of the video encodings, ITU-R BT.601 as video cameras send."""
    def plane(rows: int, columns: int, name: str) -> np.ndarray:
        return rng.integers(16, {'y': 236, 'c': 241}[name], (rows, columns), np.uint8)
    down = 2 if encoding in ('nv12', 'nv21') else 1
    across = 1 if encoding == 'nv24' else 2
    y = plane(height, width, 'y')
    u, v = (plane(height // down, width // across, 'c') for _ in range(2))
    pairs = np.stack((v, u) if encoding == 'nv21' else (u, v), axis=2)
    if encoding.startswith('nv'):
        planes = (y, pairs.reshape(len(pairs), -1))
    else:
        parts = (y[:, ::2], u, y[:, 1::2], v) if encoding in ('yuyv', 'yuv422_yuy2') else \
            (u, y[:, ::2], v, y[:, 1::2])
        planes = (np.stack(parts, axis=2).reshape(height, -1),)
    full_u, full_v = (part.repeat(down, axis=0).repeat(across, axis=1).astype(float) - 128
                      for part in (u, v))
    bright = 255 / 219 * (y.astype(float) - 16)
    bgr = np.stack([bright + 2.017232 * full_u,
                    bright - 0.391762 * full_u - 0.812968 * full_v,
                    bright + 1.596027 * full_v], axis=2)
    return Sample(encoding, planes, np.clip(np.rint(bgr), 0, 255).astype(np.uint8), tolerance=1)


def header_encodings(text: str) -> Set[str]:
    """Return the names that ``sensor_msgs/image_encodings.hpp`` defines."""
    return set(re.findall(r'^const char \w+\[\] = "(\w+)";', text, re.MULTILINE))
