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
"""Pictures of every encoding come out the same, and what is no picture is refused."""

import array
import re
from types import SimpleNamespace

import cv2
from mtl_perception import image_codec
from mtl_perception.errors import ImageError
from mtl_perception.image_codec import decode
import numpy as np
import pytest

HEIGHT, WIDTH = 6, 8
YUV_TOLERANCE = 3  # of 255: brightness and colour are rounded to 8 bits each


def message(data, encoding, width=WIDTH, height=HEIGHT, step=None, is_bigendian=0):
    """Return what an Image message looks like."""
    data = np.ascontiguousarray(data)
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=is_bigendian,
        step=data.nbytes // height if step is None else step,
        data=array.array('B', data.tobytes()))


def colours(height=HEIGHT, width=WIDTH):
    """Return a BGR picture with another value in each place."""
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def plain(height=HEIGHT, width=WIDTH):
    """Return a BGR picture of one colour."""
    return np.full((height, width, 3), (40, 120, 200), np.uint8)


def grey(picture):
    """Return the first channel, thrice."""
    return np.repeat(picture[:, :, :1], 3, axis=2)


def packed_yuv(picture, first):
    """Return ``picture`` of one colour as rows of brightness and colour pairs."""
    y, u, v = yuv_of(picture)
    pair = [u, y, v, y] if first == 'u' else [y, u, y, v]
    return np.tile(np.array(pair, np.uint8), (picture.shape[0], picture.shape[1] // 2))


def yuv_of(picture):
    """Return brightness and colour of a picture of one colour."""
    i420 = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).ravel()
    pixels = picture.shape[0] * picture.shape[1]
    return i420[0], i420[pixels], i420[-1]


def planar(picture, order, rows_of_colour):
    """Return ``picture`` of one colour as a plane of brightness and rows of colour pairs."""
    y, u, v = yuv_of(picture)
    pair = [u, v] if order == 'uv' else [v, u]
    height, width = picture.shape[:2]
    return np.vstack([np.full((height, width), y), np.tile(
        np.array(pair, np.uint8), (rows_of_colour, width // 2))]).astype(np.uint8)


@pytest.mark.parametrize('encoding, data, expected', [
    ('bgr8', colours(), colours()),
    ('8UC3', colours(), colours()),
    ('rgb8', colours()[:, :, ::-1], colours()),
    ('bgra8', np.dstack([colours(), colours()[:, :, 0]]), colours()),
    ('8UC4', np.dstack([colours(), colours()[:, :, 0]]), colours()),
    ('rgba8', np.dstack([colours()[:, :, ::-1], colours()[:, :, 0]]), colours()),
    ('mono8', colours()[:, :, 0], grey(colours())),
    ('8UC1', colours()[:, :, 0], grey(colours())),
    ('mono16', colours()[:, :, 0] * np.uint16(256) + np.uint16(255), grey(colours())),
    ('16UC1', colours()[:, :, 0] * np.uint16(256), grey(colours())),
    ('bgr16', colours() * np.uint16(256), colours()),
    ('rgb16', colours()[:, :, ::-1] * np.uint16(256), colours()),
    ('bgra16', np.dstack([colours(), colours()[:, :, 0]]) * np.uint16(256), colours()),
    ('rgba16', np.dstack([colours()[:, :, ::-1], colours()[:, :, 0]]) * np.uint16(256),
     colours()),
    ('yuv422', packed_yuv(plain(), 'u'), plain()),
    ('uyvy', packed_yuv(plain(), 'u'), plain()),
    ('yuv422_yuy2', packed_yuv(plain(), 'y'), plain()),
    ('yuyv', packed_yuv(plain(), 'y'), plain()),
    ('nv12', planar(plain(), 'uv', HEIGHT // 2), plain()),
    ('nv21', planar(plain(), 'vu', HEIGHT // 2), plain()),
    ('nv24', planar(plain(), 'uv', 2 * HEIGHT), plain())])
def test_each_encoding_gives_the_picture(encoding, data, expected):
    """One picture, however it is written."""
    picture = decode(message(data, encoding, step=data.nbytes // HEIGHT if data.shape[0] == HEIGHT
                             else WIDTH))
    assert picture.dtype == np.uint8 and picture.flags.c_contiguous
    tolerance = YUV_TOLERANCE if re.match('yu|uy|nv', encoding) else 0
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('order', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_each_bayer_order_gives_its_colours(order, bits):
    """A mosaic of one colour becomes that colour."""
    blue, green, red = 40, 120, 200
    level = {'r': red, 'g': green, 'b': blue}
    tile = np.array([level[name] for name in order], np.uint16).reshape(2, 2)
    mosaic = np.tile(tile, (HEIGHT // 2, WIDTH // 2))
    data = mosaic.astype(np.uint8) if bits == 8 else mosaic * np.uint16(256)
    picture = decode(message(data, f'bayer_{order}{bits}'))
    assert (picture == (blue, green, red)).all()


@pytest.mark.parametrize('encoding, channels', [('bgr8', 3), ('mono8', 1), ('rgba8', 4)])
@pytest.mark.parametrize('height, width', [(1, 1), (5, 7), (3, 640)])
def test_padding_and_odd_sizes(encoding, channels, height, width):
    """Bytes behind a row are no part of it."""
    values = np.random.default_rng(4).integers(0, 256, (height, width * channels), np.uint8)
    padded = np.hstack([values, np.full((height, 5), 99, np.uint8)])
    tight = decode(message(values, encoding, width, height))
    assert (decode(message(padded, encoding, width, height)) == tight).all()
    assert tight.shape == (height, width, 3)


def test_padding_of_planar_pictures():
    """The rows of colour are padded like those of brightness."""
    for encoding, rows in (('nv12', HEIGHT // 2), ('nv24', 2 * HEIGHT)):
        tight = planar(plain(), 'uv', rows)
        padded = np.zeros((len(tight), WIDTH + 4), np.uint8)
        padded[:, :WIDTH] = tight
        if encoding == 'nv24':  # a row of colour pairs is as long as two steps
            padded[HEIGHT:] = np.hstack([
                tight[HEIGHT:].reshape(HEIGHT, 2 * WIDTH),
                np.zeros((HEIGHT, 8), np.uint8)]).reshape(-1, WIDTH + 4)
        assert (decode(message(padded, encoding, step=WIDTH + 4))
                == decode(message(tight, encoding, step=WIDTH))).all()


def test_big_endian_16_bit():
    """The byte order of the sender counts."""
    values = colours()[:, :, 0] * np.uint16(256) + np.uint16(7)
    big = message(values.astype('>u2'), 'mono16', is_bigendian=1)
    assert (decode(big) == decode(message(values.astype('<u2'), 'mono16'))).all()


def test_bgr8_is_not_copied():
    """A camera's usual picture costs nothing to decode."""
    original = message(colours(), 'bgr8')
    picture = decode(original)
    original.data[0] ^= 255
    assert picture[0, 0, 0] == original.data[0]


def broken(**changes):
    """Return a good message with some fields changed."""
    fields = vars(message(colours(), 'bgr8'))
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize('bad, said', [
    (broken(width=0), '0x6'),
    (broken(height=0), '8x0'),
    (broken(step=23), 'at least 24 bytes, got 23'),
    (broken(step=25), 'cut short'),
    (broken(step=0), 'got 0'),
    (broken(data=array.array('B', bytes(143))), 'got 143'),
    (broken(data=array.array('B')), 'got 0'),
    (broken(width=2**32 - 1, height=2**32 - 1), 'step'),
    (broken(encoding='32FC1'), "'32FC1'"),
    (broken(encoding='64FC1'), "'64FC1'"),
    (broken(encoding='16SC1'), "'16SC1'"),
    (broken(encoding=''), "''"),
    (broken(encoding='x' * 1000), 'xxx'),
    (broken(encoding='yuv422', width=7), 'even'),
    (broken(encoding='nv12', height=5), 'even'),
    (SimpleNamespace(format='jpeg', data=b''), '0 bytes'),
    (SimpleNamespace(format='jpeg', data=b'no picture'), '10 bytes'),
    (SimpleNamespace(format='16UC1; compressedDepth png', data=b'x'), 'depth')])
def test_what_is_no_picture_is_refused_in_one_line(bad, said):
    """The error says what was expected and what came."""
    with pytest.raises(ImageError, match='expected') as caught:
        decode(bad)
    text = str(caught.value)
    assert said in text and '\n' not in text and len(text) < 500


@pytest.mark.parametrize('extension, tolerance', [('.png', 0), ('.jpg', 12), ('.webp', 12)])
def test_compressed_pictures(extension, tolerance):
    """What image_transport compresses comes back."""
    data = cv2.imencode(extension, plain(48, 64))[1].tobytes()
    picture = decode(SimpleNamespace(format=f'bgr8; {extension[1:]} compressed bgr8', data=data))
    assert picture.shape == (48, 64, 3) and picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - plain(48, 64)).max() <= tolerance


def test_compressed_grey_and_16_bit():
    """A grey or deep picture comes as colour of 8 bits."""
    ramp = np.arange(0, 65536, 256, np.uint16).reshape(16, 16)
    for data in (cv2.imencode('.png', (ramp // 256).astype(np.uint8)), cv2.imencode('.png', ramp)):
        picture = decode(SimpleNamespace(format='png', data=data[1].tobytes()))
        assert picture.shape == (16, 16, 3)
        assert np.abs(picture[:, :, 0].astype(int) - ramp // 256).max() <= 1


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('share', [0.02, 0.5, 0.98])
def test_a_compressed_picture_cut_short_is_refused(extension, share):
    """Half a picture would be filled with grey, in which nothing is seen."""
    data = cv2.imencode(extension, colours(48, 64))[1].tobytes()
    with pytest.raises(ImageError, match='expected a whole'):
        decode(SimpleNamespace(format='x', data=data[:int(share * len(data))]))


def test_cv_bridge_and_rosbags_image_give_the_same_answer(monkeypatch):
    """A robot and a laptop see the same picture."""
    ros = image_codec._ros_converter()
    if ros is None:
        pytest.skip('ROS provides no cv_bridge here')
    rng = np.random.default_rng(5)
    for encoding, layout in image_codec._PACKED.items():
        data = rng.integers(0, 256, (HEIGHT, WIDTH * layout.channels * layout.bytes_each),
                            np.uint8)
        answers = []
        for converter in (ros, image_codec._rosbags_converter()):
            monkeypatch.setattr(image_codec, '_converter', lambda chosen=converter: chosen)
            answers.append(decode(message(data, encoding)))
        assert (answers[0] == answers[1]).all(), encoding
