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

from colour_weights import picture, save_colour_weights
import cv2
from mtl_perception.cli.predict import main
from mtl_perception.engine import build_engine
from mtl_perception.frame import Frame
import numpy as np
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
    assert run(weights, photos, photos / 'more', '--out', out) == 0
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


def test_what_cannot_be_read_is_skipped_and_said(weights, photos, tmp_path, capsys):
    (photos / 'aa.jpg').write_bytes(b'no picture')
    assert run(weights, photos, '--out', tmp_path / 'seen') == 1
    assert 'aa.jpg' in capsys.readouterr().err
    assert len(list((tmp_path / 'seen' / 'masks').iterdir())) == 2


def test_the_files_of_others_stay(weights, photos, tmp_path, capsys):
    (tmp_path / 'seen').mkdir()
    (tmp_path / 'seen' / 'thesis.tex').write_text('years of work')
    assert run(weights, photos, '--out', tmp_path / 'seen') == 2
    assert 'new name' in capsys.readouterr().err
    assert [file.name for file in (tmp_path / 'seen').iterdir()] == ['thesis.tex']


@pytest.mark.parametrize('arguments, expected', [
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
