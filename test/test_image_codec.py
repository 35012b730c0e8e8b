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
import io
from pathlib import Path
import struct
import sys
from types import SimpleNamespace
import zlib

from camera_pictures import ANSWERED, header_encodings, REFUSED, sample, takes
import cv2
from mtl_perception import image_codec
from mtl_perception.errors import ImageError
from mtl_perception.image_codec import decode, MAX_COMPRESSED_PIXELS
import numpy as np
import pytest

HEADER = 'include/sensor_msgs/sensor_msgs/image_encodings.hpp'
SIZES = [(1, 1), (1, 2), (2, 2), (3, 3), (5, 7), (7, 4), (48, 64)]


def message(example, padding=0):
    """Return what an Image message looks like."""
    return SimpleNamespace(**example.fields(padding))


def compressed(data, form='jpeg'):
    """Return what a CompressedImage message looks like."""
    return SimpleNamespace(format=form, data=array.array('B', data))


def colours(height=48, width=64):
    """Return a BGR picture with another value in each place."""
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def stripes(height=48, width=64):
    """Return a BGR picture that JPEG keeps well: a red left half, a blue right half."""
    picture = np.full((height, width, 3), (0, 0, 255), np.uint8)
    picture[:, width // 2:] = (255, 0, 0)
    return picture


def png(picture):
    """Return a PNG file."""
    return cv2.imencode('.png', picture)[1].tobytes()


def is_near(found, expected):
    """Tell whether stripes came through JPEG, away from where their colours run together."""
    return found.shape == expected.shape and \
        np.abs(found[:, [4, -5]].astype(int) - expected[:, [4, -5]]).max() <= 4


def refusal(bad):
    """Return the one line that says why a message is no picture."""
    with pytest.raises(ImageError, match='expected') as caught:
        decode(bad)
    text = str(caught.value)
    assert '\n' not in text and len(text) < 500
    return text


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('encoding', ANSWERED)
def test_every_encoding_of_colour_or_grey_gives_its_pixels(encoding, padding):
    """One picture, however it is written, whatever lies behind its rows."""
    for height, width in SIZES:
        if takes(encoding, height, width):
            example = sample(encoding, height, width)
            picture = decode(message(example, padding))
            assert picture.dtype == np.uint8 and picture.flags.c_contiguous
            assert picture.shape == example.bgr.shape
            error = np.abs(picture.astype(int) - example.bgr).max()
            assert error <= example.tolerance, (height, width)
        else:
            wrong = {**sample('mono8', height, width).fields(padding), 'encoding': encoding}
            assert f'{width}x{height}' in refusal(SimpleNamespace(**wrong))


@pytest.mark.parametrize('encoding', [name for name in ANSWERED if '16' in name])
def test_big_endian_16_bit(encoding):
    """The byte order of the sender counts."""
    example = sample(encoding, 5, 7, is_bigendian=True)
    assert (decode(message(example, 3)) == example.bgr).all()


@pytest.mark.parametrize('encoding', ['bgr8', 'bayer_rggb16', 'nv12', 'yuyv'])
def test_a_4k_picture(encoding):
    """A camera may be large."""
    example = sample(encoding, 2160, 3840)
    error = cv2.absdiff(decode(message(example)), np.ascontiguousarray(example.bgr)).max()
    assert error <= example.tolerance


@pytest.mark.parametrize('encoding', [*REFUSED, '', 'BGR8', 'jpeg', '8UC5', 'x' * 1000])
def test_every_other_encoding_is_refused(encoding):
    """The line says what was got and what is read."""
    text = refusal(SimpleNamespace(height=1, width=1, step=32, encoding=encoding, is_bigendian=0,
                                   data=array.array('B', bytes(32))))
    assert repr(encoding[:40]) in text and 'bgr8' in text and 'camera driver' in text


def test_these_are_all_encodings_of_the_header():
    """What sensor_msgs may yet add is noticed."""
    prefixes = [Path(sys.prefix), *Path('/opt/ros').glob('*')]
    headers = [prefix / HEADER for prefix in prefixes if (prefix / HEADER).is_file()]
    if not headers:
        pytest.skip('no sensor_msgs header here')
    for header in headers:
        names = header_encodings(header.read_text())
        assert len(names) > 40 and names <= {*ANSWERED, *REFUSED}
    assert set(ANSWERED) == {*image_codec._PACKED, *image_codec._PLANAR}


def test_bgr8_is_not_copied():
    """A camera's usual picture costs nothing to decode."""
    for encoding in ('bgr8', '8UC3'):
        original = message(sample(encoding, 48, 64))
        picture = decode(original)
        original.data[0] ^= 255
        assert picture[0, 0, 0] == original.data[0]


def broken(**changes):
    """Return a good message with some fields changed."""
    return SimpleNamespace(**{**sample('bgr8', 6, 8).fields(), **changes})


@pytest.mark.parametrize('bad, said', [
    (broken(width=0), '0x6'),
    (broken(height=0), '8x0'),
    (broken(step=23), 'at least 24 bytes, got 23'),
    (broken(step=25), 'cut short'),
    (broken(step=0), 'got 0'),
    (broken(data=array.array('B', bytes(143))), 'got 143'),
    (broken(data=array.array('B')), 'got 0'),
    (broken(width=2**32 - 1, height=2**32 - 1), 'step'),
    (broken(encoding='nv24'), 'step'),
    (compressed(b''), '0 bytes'),
    (compressed(b'no picture'), '10 bytes'),
    (compressed(b'\xff\xd8\xff\xd9'), '4 bytes'),
    (compressed(b'\x89PNG\r\n\x1a\nIEND'), '12 bytes'),
    (compressed(b'x', '16UC1; compressedDepth png'), 'depth')])
def test_what_is_no_picture_is_refused_in_one_line(bad, said):
    """The error says what was expected and what came."""
    assert said in refusal(bad)


def test_what_image_transport_compresses_comes_back():
    """PNG exactly, JPEG nearly."""
    form = 'bgr8; {} compressed bgr8'
    assert (decode(compressed(png(colours()), form.format('png'))) == colours()).all()
    jpeg = cv2.imencode('.jpg', stripes())[1].tobytes()
    assert is_near(decode(compressed(jpeg, form.format('jpeg'))), stripes())


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_every_kind_of_png(channels, dtype):
    """Grey, colour or with alpha, which is no part of the picture; of 16 bits the upper 8."""
    values = np.random.default_rng(6).integers(0, np.iinfo(dtype).max, (5, 7, channels), dtype)
    high = (values >> 8 if dtype is np.uint16 else values).astype(np.uint8)
    expected = np.repeat(high, 3, axis=2) if channels == 1 else high[:, :, :3]
    assert (decode(compressed(png(values), 'png')) == expected).all()


def pillow_jpeg(mode='RGB', **options):
    """Return a JPEG of the stripes as other programs write it."""
    image = pytest.importorskip('PIL.Image')
    file = io.BytesIO()
    image.fromarray(stripes()[:, :, ::-1]).convert(mode).save(file, 'jpeg', **options)
    return file.getvalue()


@pytest.mark.parametrize('mode, options', [
    ('RGB', {'progressive': True}), ('CMYK', {}), ('RGB', {'subsampling': 0}), ('L', {}),
    ('RGB', {'comment': b'\xff\xc0' * 40}), ('RGB', {'restart_marker_rows': 1})])
def test_every_kind_of_jpeg(mode, options):
    """Progressive, grey, for print, with comments that look like frames."""
    expected = stripes()
    if mode == 'L':
        expected = cv2.cvtColor(cv2.cvtColor(expected, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    assert is_near(decode(compressed(pillow_jpeg(mode, **options))), expected)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_picture_is_never_turned(orientation):
    """The calibration fits the pixels as the camera sends them."""
    image = pytest.importorskip('PIL.Image')
    exif = image.Exif()
    exif[0x0112] = orientation
    assert (decode(compressed(pillow_jpeg(exif=exif))) == decode(compressed(pillow_jpeg()))).all()


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('share', [0.02, 0.5, 0.98])
def test_a_compressed_picture_cut_short_is_refused(extension, share):
    """Half a picture would be filled with grey, in which nothing is seen."""
    data = cv2.imencode(extension, colours())[1].tobytes()
    assert 'whole' in refusal(compressed(data[:int(share * len(data))]))


@pytest.mark.parametrize('place', [28, 40, 200, 5000])
def test_an_altered_png_is_refused(place):
    """Its checksums tell; JPEG has none."""
    data = bytearray(png(colours()))
    data[place] ^= 1
    assert 'whole' in refusal(compressed(data, 'png'))


def chunk(name, content):
    """Return one chunk of a PNG."""
    return struct.pack('>I', len(content)) + name + content + struct.pack(
        '>I', zlib.crc32(name + content))


def png_bomb(width, height):
    """Return a small PNG that claims a size."""
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2,
                                                              0, 0, 0))
            + chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b''))


def jpeg_bomb(width, height):
    """Return a small JPEG that claims a size."""
    data = pillow_jpeg()
    place = data.index(b'\xff\xc0')
    return data[:place + 5] + struct.pack('>HH', height, width) + data[place + 9:]


@pytest.mark.parametrize('bomb', [png_bomb, jpeg_bomb])
@pytest.mark.parametrize('width, height', [(60000, 60000), (32000, 32000), (65535, 1025)])
def test_a_small_file_cannot_claim_a_huge_picture(bomb, width, height, monkeypatch):
    """It is refused by its claim, before a decoder makes room for it."""
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    assert width * height > MAX_COMPRESSED_PIXELS
    assert f'{width}x{height}' in refusal(compressed(bomb(width, height)))


@pytest.mark.parametrize('kind', [b'IHDR', b'IDAT', b'IEND'])
@pytest.mark.parametrize('length', [1000, 0x7fffffff, 0xd5000204])
def test_a_png_cannot_claim_a_huge_chunk(kind, length, monkeypatch):
    """The decoder makes room for it: 3.6 GB for 26 KB of which four bytes are damaged."""
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    data = bytearray(cv2.imencode('.png', colours())[1].tobytes())
    struct.pack_into('>I', data, data.index(kind) - 4, length)
    assert 'JPEG or PNG' in refusal(compressed(bytes(data)))


@pytest.mark.parametrize('extension', ['.webp', '.tiff', '.bmp', '.ppm'])
def test_other_files_are_refused(extension):
    """What no camera sends is no way in for a decoder's faults."""
    data = cv2.imencode(extension, colours())[1].tobytes()
    assert 'JPEG or PNG' in refusal(compressed(data))


def test_cv_bridge_and_rosbags_image_give_the_same_answer(monkeypatch):
    """A robot and a laptop see the same picture."""
    ros = image_codec._ros_converter()
    if ros is None:
        pytest.skip('ROS provides no cv_bridge here')
    for encoding in ANSWERED:
        original = message(sample(encoding, 6, 8), 4)
        answers = []
        for converter in (ros, image_codec._rosbags_converter()):
            monkeypatch.setattr(image_codec, '_converter', lambda chosen=converter: chosen)
            answers.append(decode(original))
        assert (answers[0] == answers[1]).all(), encoding
