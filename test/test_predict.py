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
"""The command predict: pictures, folders and videos in; overlays, masks and COCO boxes out."""

import json

from colour_weights import CARD, picture, save_colour_weights
import cv2
from mtl_perception.cli.predict import main
from mtl_perception.data.coco import CocoDataset
from mtl_perception.engine import build_engine
from mtl_perception.frame import Frame
import numpy as np
from PIL import Image
import pytest


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours')


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    (folder / 'more').mkdir(parents=True)
    cv2.imwrite(str(folder / 'a.png'), picture(red=(16, 16)))
    cv2.imwrite(str(folder / 'b.png'), picture(height=64, blue=(48, 32), red=(0, 0)))
    cv2.imwrite(str(folder / 'more' / 'a.png'), picture())
    return folder


def run(weights, *arguments):
    return main([*map(str, arguments), '--checkpoint', str(weights.folder)])


def test_a_folder_gives_overlays_masks_and_boxes(weights, photos, tmp_path, capsys):
    out = tmp_path / 'seen'
    assert run(weights, photos / 'a.png', photos / 'b.png', photos / 'more', '--out', out) == 0
    names = ['a.png', 'a_2.png', 'b.png']
    assert sorted(file.name for file in (out / 'overlays').iterdir()) == names
    assert sorted(file.name for file in (out / 'masks').iterdir()) == names
    coco = json.loads((out / 'detections.json').read_text())
    assert [item['file_name'] for item in coco['images']] == ['a.png', 'b.png', 'a_2.png']
    assert coco['categories'] == [{'id': 1, 'name': 'red'}, {'id': 2, 'name': 'blue'}]
    engine = build_engine(weights)
    for image, source in zip(coco['images'], (photos / 'a.png', photos / 'b.png')):
        pixels = cv2.imread(str(source))
        expected = engine.infer(Frame(pixels))
        found = [item for item in coco['annotations'] if item['image_id'] == image['id']]
        assert [item['category_id'] for item in found] == expected.detections.class_ids.tolist()
        corners = np.array([item['bbox'] for item in found])
        corners[:, 2:] += corners[:, :2]
        np.testing.assert_allclose(corners, expected.detections.boxes, atol=0.02)
        mask = cv2.imread(str(out / 'masks' / image['file_name']), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, expected.mask)
        assert (cv2.imread(str(out / 'overlays' / image['file_name'])) != pixels).any()
        assert (image['height'], image['width']) == pixels.shape[:2]
        assert image['class'] == ('dark', 'bright')[expected.class_probabilities.argmax()]
    output = capsys.readouterr().out
    assert 'red' in output and 'dark' in output and str(out) in output


def test_a_video_gives_its_frames_numbered(weights, tmp_path):
    video = tmp_path / 'tour.avi'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'MJPG'), 10, (128, 96))
    for i in range(5):
        writer.write(picture(red=(16 * i, 32)))
    writer.release()
    assert run(weights, video, '--out', tmp_path / 'seen', '--max-frames', '3') == 0
    assert sorted(file.name for file in (tmp_path / 'seen' / 'masks').iterdir()) == [
        'tour_000000.png', 'tour_000001.png', 'tour_000002.png']


def read_video(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        read, image = capture.read()
        if not read:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(image)


def test_a_video_gives_a_video_too(weights, tmp_path):
    for folder, count in (('one', 5), ('two', 3)):
        (tmp_path / folder).mkdir()
        writer = cv2.VideoWriter(str(tmp_path / folder / 'tour.avi'),
                                 cv2.VideoWriter_fourcc(*'MJPG'), 12, (128, 96))
        for i in range(count):
            writer.write(picture(red=(16 * i, 32)))
        writer.release()
    out = tmp_path / 'seen'
    assert run(weights, tmp_path / 'one', tmp_path / 'two', '--out', out) == 0
    for name, count in (('tour', 5), ('tour_2', 3)):
        frames, rate = read_video(out / 'overlays' / f'{name}.mp4')
        assert len(frames) == count and rate == pytest.approx(12)
        drawn = cv2.imread(str(out / 'overlays' / 'tour_000001.png'))
        assert np.abs(frames[1].astype(int) - drawn).mean() < 8


def test_folders_are_mirrored_and_files_keep_their_names(weights, photos, tmp_path):
    (photos / 'more' / 'deep').mkdir()
    cv2.imwrite(str(photos / 'more' / 'deep' / 'c.jpg'), picture())
    (photos / '.trash').mkdir()
    cv2.imwrite(str(photos / '.trash' / 'd.png'), picture())
    (photos / 'notes.txt').write_text('hello')
    out = tmp_path / 'seen'
    assert run(weights, photos, '--out', out) == 0
    coco = json.loads((out / 'detections.json').read_text())
    assert [item['file_name'] for item in coco['images']] == [
        'a.png', 'b.png', 'more/a.png', 'more/deep/c.jpg']
    assert (out / 'overlays' / 'more' / 'deep' / 'c.png').is_file()
    # The boxes are a data set beside the pictures.
    samples = CocoDataset(out / 'detections.json', photos, CARD.classes)
    assert len(samples) == 4 and samples[3].image.shape == (96, 128, 3)


def test_a_contact_sheet_shows_frames_of_the_whole(weights, tmp_path):
    (tmp_path / 'photos').mkdir()
    for index in range(60):
        cv2.imwrite(str(tmp_path / 'photos' / f'{index:03d}.png'), picture(grey=4 * index))
    assert run(weights, tmp_path / 'photos', '--out', tmp_path / 'seen') == 0
    sheet = cv2.imread(str(tmp_path / 'seen' / 'contact_sheet.jpg'))
    # Every fourth: 15 cells in 4 rows of 4.
    assert sheet.shape == (6 + 4 * 366, 6 + 4 * 486, 3)
    middles = sheet[6 + 300::366, 6 + 240::486].mean(axis=2).ravel()[:15]
    np.testing.assert_allclose(middles, [16 * index for index in range(15)], atol=4)


def test_pictures_of_every_kind_are_read_upright_in_eight_bits(weights, tmp_path):
    photos, image = tmp_path / 'photos', picture(red=(16, 16))
    photos.mkdir()
    cv2.imwrite(str(photos / 'alpha.png'), np.dstack([image, np.full((96, 128), 128, np.uint8)]))
    cv2.imwrite(str(photos / 'deep.png'), image.astype(np.uint16) * 257)
    cv2.imwrite(str(photos / 'plain.png'), image)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter to the right to see it upright
    Image.fromarray(np.rot90(image[..., ::-1])).save(photos / 'turned.jpg', exif=exif, quality=100)
    cv2.imwrite(str(photos / 'grey.png'), np.full((96, 128), 60, np.uint8))
    assert run(weights, photos, '--out', tmp_path / 'seen') == 0
    masks = {path.stem: cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
             for path in (tmp_path / 'seen' / 'masks').iterdir()}
    assert set(masks) == {'alpha', 'deep', 'plain', 'turned', 'grey'}
    assert masks['plain'].any() and not masks['grey'].any()
    for name in ('alpha', 'deep', 'turned'):
        assert masks[name].shape == (96, 128)
        assert (masks[name] != masks['plain']).mean() < 0.01, name


def test_what_cannot_be_read_is_skipped_and_said(weights, photos, tmp_path, capsys):
    (photos / 'aa.jpg').write_bytes(b'no picture')
    (photos / 'zero.png').write_bytes(b'')
    whole = cv2.imencode('.jpg', picture())[1].tobytes()
    (photos / 'cut.jpg').write_bytes(whole[:len(whole) // 2])
    assert run(weights, photos, '--out', tmp_path / 'seen') == 1
    error = capsys.readouterr().err
    assert all(name in error for name in ('aa.jpg', 'zero.png', 'cut.jpg'))
    assert len(list((tmp_path / 'seen' / 'masks').rglob('*.png'))) == 3


def test_the_files_of_others_stay(weights, photos, tmp_path, capsys):
    (tmp_path / 'seen').mkdir()
    (tmp_path / 'seen' / 'thesis.tex').write_text('years of work')
    assert run(weights, photos, '--out', tmp_path / 'seen') == 2
    assert 'new name' in capsys.readouterr().err
    assert [file.name for file in (tmp_path / 'seen').iterdir()] == ['thesis.tex']


@pytest.mark.parametrize('arguments, expected', [
    (['ok.png', '--out', 'ok.png/seen'], 'cannot be written'),
    (['/no/such.png'], 'does not exist'), (['empty'], 'got none'), (['text.txt'], 'text.txt'),
    (['broken.png'], 'broken.png'), (['ok.png', '--score-threshold', '-1'], 'score_threshold'),
    (['ok.png', '--checkpoint', '/no/weights'], '/no/weights'),
    (['ok.png', '--device', 'tpu'], 'device'),
])
def test_bad_input_ends_in_one_line(weights, tmp_path, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.txt').write_text('hello')
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n')
    cv2.imwrite(str(tmp_path / 'ok.png'), picture())
    checkpoint = [] if '--checkpoint' in arguments else ['--checkpoint', str(weights.folder)]
    assert main([*arguments, *checkpoint]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith('error: ') and '\n' not in error and expected in error
    assert not (tmp_path / 'predictions').exists()
