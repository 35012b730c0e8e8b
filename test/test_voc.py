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
"""Reading VOC's layout, and refusing what is none."""

from types import SimpleNamespace

import cv2
from hypothesis import given, settings, strategies
from mtl_perception.card import ClassNames
from mtl_perception.data.folders import (
    ClassificationDataset, list_class_csv, list_class_folders)
from mtl_perception.data.voc import read_annotation, VOC_NAMES, VocDataset
from mtl_perception.data.voc_writer import voc_palette, write_annotation
from mtl_perception.errors import DatasetError
import numpy as np
from PIL import Image
import pytest

CLASSES = ClassNames(('mug', 'plate'), ('background', 'mug', 'plate'), ('kitchen', 'floor'))


def annotation(*objects):
    """Return an annotation of ``(name, difficult, xmin, ymin, xmax, ymax)`` objects."""
    items = ''.join(
        f'<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin>'
        f'<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>'
        for name, difficult, x0, y0, x1, y1 in objects)
    return f'<annotation>{items}</annotation>'


@pytest.fixture
def root(tmp_path):
    """Return a data set of two pictures; the second has no label at all."""
    for folder in ('JPEGImages', 'Annotations', 'SegmentationClass', 'ImageSets/Main',
                   'ImageSets/Classification'):
        (tmp_path / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ('a', 'b'):
        cv2.imwrite(str(tmp_path / 'JPEGImages' / f'{name}.jpg'),
                    rng.integers(0, 256, (40, 60, 3), np.uint8))
    (tmp_path / 'Annotations' / 'a.xml').write_text(
        annotation(('plate', 0, 1, 1, 60, 40), ('mug', 1, 11, 6, 20, 15)))
    mask = np.zeros((40, 60), np.uint8)
    mask[5:15, 10:20] = 1
    mask[0, 0] = 255
    picture = Image.fromarray(mask, mode='P')
    picture.putpalette([value for index in range(256) for value in (index, 0, 255 - index)])
    picture.save(tmp_path / 'SegmentationClass' / 'a.png')
    (tmp_path / 'ImageSets' / 'Main' / 'test.txt').write_text('a\nb\n')
    (tmp_path / 'ImageSets' / 'Classification' / 'test.csv').write_text('name,class\na,floor\n')
    return tmp_path


def test_everything_is_read(root):
    """Boxes as edges from 0, ids from 1, palette indices, the place's position."""
    dataset = VocDataset(root, 'test', CLASSES)
    assert len(dataset) == 2
    sample = dataset[0]
    assert sample.name == 'a'
    assert sample.image.shape == (40, 60, 3)
    np.testing.assert_array_equal(sample.boxes, [[0, 0, 60, 40], [10, 5, 20, 15]])
    assert sample.class_ids.tolist() == [2, 1]
    assert sample.difficult.tolist() == [False, True]
    assert sample.mask[5:15, 10:20].min() == sample.mask[5:15, 10:20].max() == 1
    assert sample.mask[0, 0] == 255
    assert sample.image_class == 1


def test_a_box_is_what_its_mask_shows(root):
    """The inclusive pixels of VOC from 1 and the mask's pixels from 0 mean the same place."""
    sample = VocDataset(root, 'test', CLASSES)[0]
    rows, columns = np.nonzero(sample.mask == 1)
    np.testing.assert_array_equal(
        sample.boxes[1], [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_what_is_lacking_is_none(root):
    """A picture without files for a label lacks that label; it is not empty."""
    sample = VocDataset(root, 'test', CLASSES)[1]
    assert (sample.boxes, sample.class_ids, sample.mask, sample.image_class) == (None,) * 4


def test_iterating_gives_every_sample(root):
    """A data set is a sequence."""
    assert [sample.name for sample in VocDataset(root, 'test', CLASSES)] == ['a', 'b']


def test_an_annotation_without_objects_is_an_empty_label(root):
    """Nothing to see is a label too."""
    (root / 'Annotations' / 'b.xml').write_text(annotation())
    sample = VocDataset(root, 'test', CLASSES)[1]
    assert sample.boxes.shape == (0, 4)


BREAKS = {
    'no folder': (lambda root: root / 'nowhere', 'expected a folder'),
    'no split': (lambda root: (root / 'ImageSets/Main/test.txt').rename(
        root / 'ImageSets/Main/other.txt'), r"expected a split of \[other\], got 'test'"),
    'empty split': (lambda root: (root / 'ImageSets/Main/test.txt').write_text('\n'),
                    'at least one name'),
    'no pictures folder': (lambda root: (root / 'JPEGImages').rename(root / 'Pictures'),
                           'expected a folder'),
    'missing picture': (lambda root: (root / 'JPEGImages/a.jpg').unlink(), 'got no file'),
    'damaged picture': (lambda root: (root / 'JPEGImages/a.jpg').write_bytes(b'\xff\xd8 no'),
                        'expected a picture'),
    'unknown class': (lambda root: (root / 'Annotations/a.xml').write_text(
        annotation(('sofa', 0, 1, 1, 5, 5))), "got 'sofa'"),
    'no XML': (lambda root: (root / 'Annotations/a.xml').write_text('<annotation>'),
               'expected a VOC annotation'),
    'no box': (lambda root: (root / 'Annotations/a.xml').write_text(
        '<annotation><object><name>mug</name></object></annotation>'), 'expected bndbox'),
    'inverted box': (lambda root: (root / 'Annotations/a.xml').write_text(
        annotation(('mug', 0, 9, 1, 5, 5))), 'xmin <= xmax'),
    'box outside': (lambda root: (root / 'Annotations/a.xml').write_text(
        annotation(('mug', 0, 1, 1, 5, 5), ('mug', 0, 50, 1, 62, 5))),
        r'object 2: expected a box .* of 60x40, got x 49.0 to 62.0'),
    'unknown encoding': (lambda root: (root / 'Annotations/a.xml').write_text(
        '<?xml version="1.0" encoding="no"?><annotation/>'), 'expected a VOC annotation'),
    'infinite box': (lambda root: (root / 'Annotations/a.xml').write_text(
        annotation(('mug', 0, 1, 1, 'inf', 5))), 'expected bndbox'),
    'picture cut off': (lambda root: (root / 'JPEGImages/a.jpg').write_bytes(
        (root / 'JPEGImages/a.jpg').read_bytes()[:-200]), 'got a JPEG that is cut off'),
    'damaged mask': (lambda root: (root / 'SegmentationClass/a.png').write_bytes(b'PNG'),
                     'expected a mask PNG'),
    'truncated mask': (lambda root: (root / 'SegmentationClass/a.png').write_bytes(
        (root / 'SegmentationClass/a.png').read_bytes()[:-40]), 'expected a mask PNG'),
    'small mask': (lambda root: Image.fromarray(np.zeros((4, 6), np.uint8)).save(
        root / 'SegmentationClass/a.png'), r'expected an 8-bit mask \[40, 60\]'),
    'colour mask': (lambda root: Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(
        root / 'SegmentationClass/a.png'), 'expected an 8-bit mask'),
    'unknown id': (lambda root: Image.fromarray(np.full((40, 60), 9, np.uint8)).save(
        root / 'SegmentationClass/a.png'), 'ids below 3 or 255, got 9'),
    'unknown place': (lambda root: (root / 'ImageSets/Classification/test.csv').write_text(
        'name,class\na,attic\n'), "got 'attic'"),
    'two places': (lambda root: (root / 'ImageSets/Classification/test.csv').write_text(
        'name,class\na,floor\na,kitchen\n'), "a: expected one class, got 'floor' and 'kitchen'"),
    'other encoding': (lambda root: (root / 'ImageSets/Classification/test.csv').write_bytes(
        b'name,class\n\xe9,floor\n'), 'expected a CSV in UTF-8'),
    'wrong columns': (lambda root: (root / 'ImageSets/Classification/test.csv').write_text(
        'a,floor\n'), 'expected the columns name,class'),
}


@pytest.mark.parametrize('name', BREAKS)
def test_what_is_wrong_is_one_clear_line(root, name):
    """Each damage is found and named, in one line, with the path."""
    damage, message = BREAKS[name]
    result = damage(root)
    with pytest.raises(DatasetError, match=message) as caught:
        VocDataset(result if name == 'no folder' else root, 'test', CLASSES)[0]
    assert '\n' not in str(caught.value)
    assert str(root) in str(caught.value)


def test_labels_that_are_not_asked_for_are_not_read(root):
    """Boxes of other classes and odd masks do not hinder who learns only the image classes."""
    (root / 'Annotations' / 'a.xml').write_text(annotation(('sofa', 0, 1, 1, 5, 5)))
    (root / 'SegmentationClass' / 'a.png').write_bytes(b'PNG')
    sample = VocDataset(root, 'test', CLASSES, ('classification',))[0]
    assert (sample.boxes, sample.mask, sample.image_class) == (None, None, 1)
    (root / 'ImageSets' / 'Classification' / 'test.csv').write_text('name,class\na,attic\n')
    assert VocDataset(root, 'test', CLASSES, ('segmentation',))[1].image_class is None


PERSON = """<annotation>
  <folder>VOC2012</folder><filename>2007_000027.jpg</filename>
  <size><width>60</width><height>40</height><depth>3</depth></size>
  <segmented>1</segmented>
  <object>
    <name>person</name>
    <actions><jumping>1</jumping><other>0</other></actions>
    <part><name>head</name>
      <bndbox><xmin>12</xmin><ymin>2</ymin><xmax>18</xmax><ymax>8</ymax></bndbox></part>
    <bndbox><xmax>30</xmax><xmin>11</xmin><ymax>35</ymax><ymin>1</ymin></bndbox>
    <difficult>0</difficult><pose>Unspecified</pose><point><x>20</x><y>20</y></point>
    <part><name>foot</name>
      <bndbox><xmin>13</xmin><ymin>30</ymin><xmax>16</xmax><ymax>34</ymax></bndbox></part>
  </object>
  <object>
    <name>tvmonitor</name><pose>Frontal</pose><truncated>1</truncated><difficult>1</difficult>
    <bndbox><xmin>40.5</xmin><ymin>10.25</ymin><xmax>60.0</xmax><ymax>20.700000762939453</ymax>
    </bndbox>
  </object>
  <object>
    <name>aeroplane</name>
    <bndbox><xmin>0</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>
  </object>
</annotation>
"""


@pytest.fixture
def voc2012(tmp_path):
    """Return a folder with the peculiarities of the real one; one of two pictures has a mask."""
    for folder in ('JPEGImages', 'Annotations', 'SegmentationClass', 'SegmentationObject',
                   'ImageSets/Main', 'ImageSets/Segmentation', 'ImageSets/Action'):
        (tmp_path / folder).mkdir(parents=True)
    for name in ('2007_000027', '2008_000002'):
        cv2.imwrite(str(tmp_path / f'JPEGImages/{name}.jpg'), np.full((40, 60, 3), 99, np.uint8))
        (tmp_path / f'Annotations/{name}.xml').write_text(PERSON)
    ids = np.zeros((40, 60), np.uint8)
    ids[2:30, 12:28] = 255
    ids[3:29, 13:27] = 15
    for folder, values in (('SegmentationClass', ids), ('SegmentationObject', ids // 15)):
        picture = Image.fromarray(values, 'P')
        picture.putpalette(voc_palette().tobytes())
        picture.save(tmp_path / folder / '2007_000027.png')
    (tmp_path / 'ImageSets/Main/train.txt').write_text('2007_000027\n2008_000002\n')
    (tmp_path / 'ImageSets/Main/person_train.txt').write_text('2007_000027  1\n2008_000002 -1\n')
    (tmp_path / 'ImageSets/Segmentation/train.txt').write_text('2007_000027\n')
    (tmp_path / 'ImageSets/Segmentation/val.txt').write_text('2007_000027\n')
    return tmp_path


def test_voc2012_reads_as_it_is(voc2012):
    """Parts are no objects, difficult may be absent, coordinates fractions, 255 stays."""
    sample = VocDataset(voc2012, 'train', VOC_NAMES)[0]
    np.testing.assert_allclose(
        sample.boxes, [[10, 0, 30, 35], [39.5, 9.25, 60, 20.7], [0, 0, 5, 5]], atol=1e-5)
    assert [VOC_NAMES.detection[index - 1] for index in sample.class_ids] == [
        'person', 'tvmonitor', 'aeroplane']
    assert sample.difficult.tolist() == [False, True, False]
    assert np.unique(sample.mask).tolist() == [0, 15, 255]
    assert VOC_NAMES.segmentation[15] == 'person'
    assert np.count_nonzero(sample.mask == 15) == 26 * 14
    assert sample.image_class is None
    unmasked = VocDataset(voc2012, 'train', VOC_NAMES)[1]
    assert unmasked.mask is None and len(unmasked.boxes) == 3


def test_voc2012_lists_masks_elsewhere(voc2012):
    """The split of another task is named with its folder; errors list those that are there."""
    assert VocDataset(voc2012, 'Segmentation/train', VOC_NAMES).names == ['2007_000027']
    for split, message in (('Segmentation/test', r'Segmentation: expected a split of '
                                                 r"\[train, val\], got 'test'"),
                           ('test', r"Main: expected a split of \[train\], got 'test'"),
                           ('Layout/train', 'Layout: expected a folder')):
        with pytest.raises(DatasetError, match=message):
            VocDataset(voc2012, split, VOC_NAMES)


def test_image_classes_of_a_split_of_another_task(voc2012):
    """The list's folder is not part of the split's name."""
    (voc2012 / 'ImageSets/Classification').mkdir()
    (voc2012 / 'ImageSets/Classification/train.csv').write_text('name,class\n2007_000027,none\n')
    assert VocDataset(voc2012, 'Segmentation/train', VOC_NAMES)[0].image_class == 0


def test_ids_of_voc2012_are_its_palettes():
    """The challenge numbers its classes by the alphabet, and boxes as masks."""
    assert len(VOC_NAMES.detection) == 20
    assert list(VOC_NAMES.detection) == sorted(VOC_NAMES.detection)
    assert VOC_NAMES.segmentation == ('background', *VOC_NAMES.detection)


@settings(max_examples=50, deadline=None)
@given(strategies.lists(strategies.tuples(
    strategies.integers(0, 59), strategies.integers(1, 60), strategies.integers(0, 39),
    strategies.integers(1, 40), strategies.sampled_from(CLASSES.detection),
    strategies.booleans()).filter(lambda item: item[0] < item[1] and item[2] < item[3])))
def test_boxes_survive_writing_and_reading(tmp_path_factory, items):
    """Every object that is written comes back, in its place, as its class, as difficult."""
    path = tmp_path_factory.getbasetemp() / 'round_trip.xml'
    write_annotation(path, 'set', 'a.jpg', (40, 60, 3), [
        SimpleNamespace(label=label, box=(x_min, y_min, x_max, y_max), truncated=False,
                        occluded=False, difficult=difficult)
        for x_min, x_max, y_min, y_max, label, difficult in items], 'floor')
    boxes, class_ids, difficult = read_annotation(path, CLASSES.detection)
    assert boxes.tolist() == [[item[0], item[2], item[1], item[3]] for item in items]
    assert [CLASSES.detection[index - 1] for index in class_ids] == [item[4] for item in items]
    assert difficult.tolist() == [item[5] for item in items]


def test_folders_and_csv_give_the_same_samples(tmp_path):
    """A folder a class, or a CSV of paths."""
    for name in CLASSES.classification:
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / '1.png'), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'all.csv').write_text('name,class\nfloor/1.png,floor\nkitchen/1.png,kitchen\n')
    by_folder = list_class_folders(tmp_path, CLASSES.classification)
    by_csv = list_class_csv(tmp_path / 'all.csv', CLASSES.classification)
    assert sorted(by_folder) == sorted(by_csv)
    sample = ClassificationDataset(by_folder)[0]
    assert (sample.image_class, sample.boxes, sample.mask) == (1, None, None)


def test_a_folder_that_is_no_class_is_refused(tmp_path):
    """So is an empty tree."""
    with pytest.raises(DatasetError, match='got none'):
        list_class_folders(tmp_path, CLASSES.classification)
    (tmp_path / 'attic').mkdir()
    with pytest.raises(DatasetError, match="got 'attic'"):
        list_class_folders(tmp_path, CLASSES.classification)
    with pytest.raises(DatasetError, match='got no file'):
        list_class_csv(tmp_path / 'none.csv', CLASSES.classification)
