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
"""From a recipe's source to samples."""

from dataclasses import replace
import json

from hypothesis import given, settings, strategies
from mtl_perception.card import ClassNames
from mtl_perception.data.datasets import FORMATS, KeptLabels, open_source, tasks_of
from mtl_perception.data.sample import Sample
from mtl_perception.errors import ConfigError, DatasetError
from mtl_perception.household.classes import OBJECT_CLASSES, PLACES
from mtl_perception.recipe import Source, TASKS
import numpy as np
import pytest
from squares import write_squares

CLASSES = ClassNames(OBJECT_CLASSES[:3], ('background', *OBJECT_CLASSES[:3]), PLACES[:3])


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Return a data root that holds a data set in each format, all of the same six pictures."""
    root = tmp_path_factory.mktemp('data')
    write_squares(root / 'voc', 'train', 6, side=48)
    samples = list(open_source(Source('voc', 'voc'), root, CLASSES))
    places = root / 'places'
    rows = ['name,class']
    for sample in samples:
        place = PLACES[sample.image_class]
        (places / place).mkdir(parents=True, exist_ok=True)
        (places / place / f'{sample.name}.jpg').write_bytes(
            (root / 'voc' / 'JPEGImages' / f'{sample.name}.jpg').read_bytes())
        rows.append(f'{place}/{sample.name}.jpg,{place}')
    (places / 'places.csv').write_text('\n'.join(rows))
    document = {
        'images': [{'id': number, 'file_name': f'{sample.name}.jpg'}
                   for number, sample in enumerate(samples)],
        'categories': [{'id': number + 1, 'name': name}
                       for number, name in enumerate(OBJECT_CLASSES)],
        'annotations': [{'id': 0, 'image_id': number, 'category_id': int(class_id),
                         'bbox': [*map(float, box[:2]), *map(float, box[2:] - box[:2])]}
                        for number, sample in enumerate(samples)
                        for class_id, box in zip(sample.class_ids, sample.boxes)]}
    for path in (root / 'boxes.json', root / 'voc' / 'JPEGImages' / 'boxes.json'):
        path.write_text(json.dumps(document))
    return root


def test_every_format_tells_the_same(root):
    """Pictures and labels do not depend on how they are laid out."""
    truth = open_source(Source('voc', 'voc'), root, CLASSES)
    for source in (Source('coco', 'boxes.json', images='voc/JPEGImages'),
                   Source('coco', 'voc/JPEGImages/boxes.json')):
        dataset = open_source(source, root, CLASSES)
        assert len(dataset) == len(truth) == 6
        for sample, true in zip(dataset, truth):
            np.testing.assert_array_equal(sample.image, true.image)
            np.testing.assert_array_equal(sample.boxes, true.boxes)
            np.testing.assert_array_equal(sample.class_ids, true.class_ids)
            assert (sample.mask, sample.image_class) == (None, None)
    by_picture = {true.image.tobytes(): true.image_class for true in truth}
    for source in (Source('folders', 'places'), Source('csv', 'places/places.csv')):
        dataset = open_source(source, root, CLASSES)
        assert len(dataset) == 6
        for sample in dataset:
            assert sample.image_class == by_picture[sample.image.tobytes()]
            assert (sample.boxes, sample.mask) == (None, None)


def test_a_path_may_be_absolute(root):
    """The root is only for those that are not."""
    source = Source('coco', str(root / 'boxes.json'), images=str(root / 'voc' / 'JPEGImages'))
    assert len(open_source(source, '/nowhere', CLASSES)) == 6


def test_the_labels_of_a_source_that_are_not_used_are_not_read(root):
    """Boxes of classes that the recipe does not have may lie beside the masks that it learns."""
    classes = replace(CLASSES, detection=('none',))
    dataset = open_source(Source('voc', 'voc', tasks=('segmentation',)), root, classes)
    assert all(sample.boxes is None and sample.mask is not None for sample in dataset)
    with pytest.raises(DatasetError, match='detection classes'):
        list(open_source(Source('voc', 'voc'), root, classes))


FEW = [Sample(f'{number}', np.zeros((4, 4, 3), np.uint8),
              *((np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
                if number % 2 else (None,) * 3),
              mask=np.zeros((4, 4), np.uint8) if number % 3 else None,
              image_class=0 if number % 5 else None) for number in range(7)]
FIELDS = {'detection': ('boxes', 'class_ids', 'difficult'), 'segmentation': ('mask',),
          'classification': ('image_class',)}


@settings(deadline=None)
@given(strategies.sets(strategies.sampled_from(TASKS)), strategies.integers(0, 9))
def test_only_the_labels_of_the_tasks_and_the_first_frames_are_kept(tasks, frames):
    """What is kept is as it was, absent labels included; all else is None."""
    kept = KeptLabels(FEW, tasks, frames)
    assert len(kept) == min(frames or 7, 7)
    assert len(list(kept)) == len(kept)
    for given_one, sample in zip(FEW, kept):
        assert sample.name == given_one.name and sample.image is given_one.image
        for task, names in FIELDS.items():
            for name in names:
                expected = getattr(given_one, name) if task in tasks else None
                assert getattr(sample, name) is expected


def test_tasks_are_those_that_the_format_can_have():
    """Without a wish all that it has; a wish that it cannot fulfil is an error."""
    for name, tasks in (('voc', TASKS), ('coco', ('detection',)),
                        ('folders', ('classification',)), ('csv', ('classification',))):
        assert tasks_of(Source(name, 'x')) == FORMATS[name].tasks == tasks
    assert tasks_of(Source('voc', 'x', tasks=('segmentation',))) == ('segmentation',)


@pytest.mark.parametrize('source,message', {
    'unknown format': (Source('yolo', 'x'),
                       "sources: x: expected a format of voc, coco, folders, csv, got 'yolo'"),
    'boxes of folders': (Source('folders', 'x', tasks=('detection',)),
                         'x: expected tasks of classification, .* folders can have, '
                         'got detection'),
    'more than COCO': (Source('coco', 'x', tasks=('detection', 'segmentation')),
                       'expected tasks of detection, .* got segmentation'),
}.values())
def test_a_source_that_cannot_be_is_a_mistake_of_the_recipe(source, message):
    """It is found without looking at the disk."""
    with pytest.raises(ConfigError, match=message) as caught:
        open_source(source, '/nowhere', CLASSES)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', FORMATS)
def test_a_wrong_path_is_one_clear_line(name):
    """In every format, with the path."""
    with pytest.raises(DatasetError, match='/nowhere/x: expected') as caught:
        open_source(Source(name, 'x'), '/nowhere', CLASSES)
    assert '\n' not in str(caught.value)


def test_a_wrong_split_is_named(root):
    """With those that are there."""
    with pytest.raises(DatasetError, match=r"expected a split of \[train\], got 'val'"):
        open_source(Source('voc', 'voc', split='val'), root, CLASSES)
