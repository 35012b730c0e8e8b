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
"""Reading one picture, and holding boxes to it."""

import cv2
from hypothesis import given, settings, strategies
from mtl_perception.data.sample import fit_boxes, read_picture
from mtl_perception.errors import DatasetError
import numpy as np
from PIL import Image
import pytest


def picture(side=24, seed=0):
    """Return a noisy picture, so that its JPEG is long."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def jpeg(image, *flags):
    """Return the bytes of a JPEG."""
    return cv2.imencode('.jpg', image, flags)[1].tobytes()


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.webp', '.tif'])
def test_a_picture_is_what_opencv_reads(tmp_path, suffix):
    """Any format, BGR."""
    path = tmp_path / f'a{suffix}'
    cv2.imwrite(str(path), picture())
    np.testing.assert_array_equal(read_picture(path), cv2.imread(str(path)))


@settings(deadline=None)
@given(progressive=strategies.booleans(), cut=strategies.integers(1, 1400))
def test_a_jpeg_that_is_cut_off_is_refused_wherever_it_is_cut(tmp_path_factory, progressive, cut):
    """Of such a file OpenCV makes a picture with a grey rest."""
    whole = jpeg(picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive))
    path = tmp_path_factory.getbasetemp() / 'cut.jpg'
    path.write_bytes(whole)
    assert read_picture(path).shape == (24, 24, 3)
    path.write_bytes(whole[:max(2, len(whole) - cut)])
    with pytest.raises(DatasetError, match='got a JPEG that is cut off'):
        read_picture(path)


def test_the_end_of_a_thumbnail_is_not_the_end(tmp_path):
    """Cameras put a whole small JPEG into the header; some write more behind the end."""
    thumbnail, whole = jpeg(picture(8)), jpeg(picture())
    header = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    path = tmp_path / 'a.jpg'
    path.write_bytes(whole[:2] + header + whole[2:] + b'maker notes')
    np.testing.assert_array_equal(read_picture(path), cv2.imdecode(
        np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR))
    path.write_bytes(whole[:2] + header + whole[2:-100])
    with pytest.raises(DatasetError, match='cut off'):
        read_picture(path)


def test_space_that_was_never_written_is_no_picture(tmp_path):
    """A machine that lost power leaves files of full length that end in zeros."""
    whole = jpeg(picture())
    path = tmp_path / 'a.jpg'
    path.write_bytes(whole[:len(whole) // 2] + bytes(len(whole) // 2))
    with pytest.raises(DatasetError, match='cut off'):
        read_picture(path)


def test_a_phones_picture_is_upright(tmp_path):
    """The EXIF tag turns the picture as viewers and annotation tools do."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / 'a.jpg'
    Image.fromarray(picture()[:16]).save(path, exif=exif)
    assert read_picture(path).shape == (24, 16, 3)
    np.testing.assert_array_equal(read_picture(path), cv2.imread(str(path)))


@pytest.mark.parametrize('content,found', {
    'missing': (None, 'no file'), 'empty': (b'', 'something else'),
    'text': (b'hello', 'something else')}.values())
def test_what_is_no_picture_is_named(tmp_path, content, found):
    """One line with the path."""
    path = tmp_path / 'a.jpg'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=f'{path}: expected a picture, got {found}'):
        read_picture(path)
    with pytest.raises(DatasetError, match='got an error: Is a directory'):
        read_picture(tmp_path)


edges = strategies.floats(-1, 61, width=32)


@settings(max_examples=200, deadline=None)
@given(strategies.lists(strategies.tuples(edges, edges, edges, edges)))
def test_fitted_boxes_are_inside_and_hardly_moved(boxes):
    """Either every box has an area in the picture, or one is named."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    image = np.zeros((40, 60, 3), np.uint8)
    try:
        fitted = fit_boxes(boxes, image, str)
    except DatasetError as error:
        wrong = boxes[int(str(error).partition(':')[0])]
        inside = np.clip(wrong, 0, [60, 40, 60, 40])
        assert np.abs(inside - wrong).max() > 1 or min(inside[2:] - inside[:2]) <= 0
        return
    assert fitted.dtype == np.float32 and fitted.shape == boxes.shape
    assert (fitted[:, 2:] > fitted[:, :2]).all()
    assert (fitted >= 0).all() and (fitted <= [60, 40, 60, 40]).all()
    assert (np.abs(fitted - boxes) <= 1).all()
    within = ((boxes >= 0) & (boxes <= [60, 40, 60, 40])).all(axis=1)
    np.testing.assert_array_equal(fitted[within], boxes[within])


@pytest.mark.parametrize('side', range(4))
def test_a_pixel_beyond_the_edge_is_cut_and_more_is_refused(side):
    """At each side of the picture."""
    box, outward = np.float32([[0, 0, 60, 40]]), (-1, -1, 1, 1)[side]
    image = np.zeros((40, 60, 3), np.uint8)
    moved = box.copy()
    moved[0, side] += outward
    np.testing.assert_array_equal(fit_boxes(moved, image, str), box)
    moved[0, side] += 0.01 * outward
    with pytest.raises(DatasetError, match='^0: expected a box .* of 60x40, got x '):
        fit_boxes(moved, image, str)
