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
"""Reading COCO's instances, and refusing what is none."""

import json

import cv2
from hypothesis import given, settings, strategies
from mtl_perception.card import ClassNames
from mtl_perception.data.coco import CocoDataset
from mtl_perception.errors import DatasetError
import numpy as np
import pytest

CLASSES = ClassNames(('mug', 'plate'), ('background', 'mug', 'plate'), ('none',))
NAMES = {3: 'plate', 7: 'mug', 9: 'sofa'}


def instances(boxes, images=(11, 5, 8)):
    """Return a document with ``(image_id, category_id, bbox)`` annotations, ids from 100."""
    return {
        'info': {'description': 'a test'},
        'images': [{'id': key, 'file_name': f'{key}.png', 'width': 60, 'height': 40}
                   for key in images],
        'annotations': [{'id': 100 + number, 'image_id': image, 'category_id': category,
                         'bbox': list(box), 'iscrowd': 0, 'segmentation': []}
                        for number, (image, category, box) in enumerate(boxes)],
        'categories': [{'id': key, 'name': name, 'supercategory': 'thing'}
                       for key, name in NAMES.items()]}


BOXES = ((8, 7, (1.5, 2, 10, 5)), (11, 3, (0, 0, 60, 40)), (8, 3, (50, 30, 10.4, 10)))


def write(folder, document):
    """Write the document beside a folder of three pictures and return its path."""
    (folder / 'pictures').mkdir(exist_ok=True)
    for key in (11, 5, 8):
        cv2.imwrite(str(folder / 'pictures' / f'{key}.png'), np.full((40, 60, 3), key, np.uint8))
    path = folder / 'instances.json'
    path.write_text(json.dumps(document))
    return path


def read(folder, document):
    """Return the data set of the document."""
    return CocoDataset(write(folder, document), folder / 'pictures', CLASSES)


def test_everything_is_read(tmp_path):
    """Images in the file's order, each with its own annotations; classes go by name, not id."""
    dataset = read(tmp_path, instances(BOXES))
    assert [sample.name for sample in dataset] == ['11.png', '5.png', '8.png']
    first, _, last = dataset
    assert first.image[0, 0].tolist() == [11, 11, 11]
    assert first.boxes.tolist() == [[0, 0, 60, 40]] and first.class_ids.tolist() == [2]
    np.testing.assert_allclose(last.boxes, [[1.5, 2, 11.5, 7], [50, 30, 60, 40]])
    assert last.class_ids.tolist() == [1, 2]
    assert (last.boxes.dtype, last.class_ids.dtype, last.difficult.dtype) == (
        np.float32, np.int64, bool)
    assert (last.mask, last.image_class) == (None, None)
    assert dataset[-1].boxes.tolist() == last.boxes.tolist()


def test_an_image_without_annotations_has_no_objects(tmp_path):
    """That is a label too."""
    sample = read(tmp_path, instances(BOXES))[1]
    assert sample.boxes.shape == (0, 4)
    assert len(sample.class_ids) == len(sample.difficult) == 0
    assert len(read(tmp_path, instances(()))) == 3


def test_crowds_and_what_is_to_be_ignored_are_difficult(tmp_path):
    """Evaluation neither asks for them nor punishes them."""
    document = instances([(8, 7, (1, 1, 5, 5))] * 4)
    document['annotations'][1]['iscrowd'] = 1
    document['annotations'][2]['ignore'] = 1
    del document['annotations'][3]['iscrowd']
    assert read(tmp_path, document)[2].difficult.tolist() == [False, True, True, False]


def test_ids_may_be_names(tmp_path):
    """Some tools write UUIDs."""
    text = json.dumps(instances(BOXES)).replace('"id": 8,', '"id": "x-8",').replace(
        '"image_id": 8,', '"image_id": "x-8",')
    assert len(read(tmp_path, json.loads(text))[2].boxes) == 2


@settings(max_examples=50, deadline=None)
@given(strategies.lists(strategies.tuples(
    strategies.sampled_from((11, 5, 8)), strategies.sampled_from((3, 7)),
    strategies.tuples(strategies.floats(0, 50), strategies.floats(0, 30),
                      strategies.floats(0.01, 10), strategies.floats(0.01, 10)))))
def test_boxes_survive_writing_and_reading(tmp_path_factory, boxes):
    """Whatever the order in the file, each image gets its own boxes in theirs."""
    dataset = read(tmp_path_factory.getbasetemp(), instances(boxes))
    for key, sample in zip((11, 5, 8), dataset):
        own = [(category, box) for image, category, box in boxes if image == key]
        assert [CLASSES.detection[index - 1] for index in sample.class_ids] == [
            NAMES[category] for category, _ in own]
        np.testing.assert_allclose(
            sample.boxes, np.array([(x, y, x + w, y + h) for _, (x, y, w, h) in own]
                                   ).reshape(-1, 4), rtol=1e-6, atol=1e-6)


def without(name, entry='images'):
    """Return a change that takes a field off an entry, or a whole list."""
    def change(document):
        del (document if name in document else document[entry][0])[name]
    return change


def put(entry, name, value):
    """Return a change that puts a value into an entry."""
    def change(document):
        document[entry][0][name] = value
    return change


MALFORMED = {
    'no annotations': (without('annotations'), "a list of objects under 'annotations'"),
    'numbers for images': (lambda document: document.update(images=[1, 2]),
                           "a list of objects under 'images'"),
    'no images': (lambda document: document.update(images=[], annotations=[]),
                  'at least one image'),
    'no file name': (without('file_name'), r'images\[0\]: expected an id and a file_name'),
    'id twice': (put('images', 'id', 5), r'images\[1\]: expected different ids, got 5 again'),
    'category id twice': (put('categories', 'id', 7), 'expected different ids, got 7 again'),
    'unknown category': (put('annotations', 'category_id', 9),
                         'categories of the 2 detection classes, got sofa'),
    'no such category': (put('annotations', 'category_id', 4),
                         'annotation 100: expected the category_id of one of 3, got 4'),
    'no such image': (put('annotations', 'image_id', [8]),
                      r'annotation 100: expected the image_id of one of 3, got \[8\]'),
    'no box': (without('bbox', 'annotations'), 'annotation 100: expected bbox .* got None'),
    'half a box': (put('annotations', 'bbox', [1, 2]), r'expected bbox .* got \[1, 2\]'),
    'infinite box': (put('annotations', 'bbox', [1, 2, float('nan'), 4]),
                     'annotation 100: expected bbox'),
}


@pytest.mark.parametrize('name', MALFORMED)
def test_a_file_that_is_wrong_is_refused_at_once(tmp_path, name):
    """One clear line with the path, and the annotation's id where there is one."""
    change, message = MALFORMED[name]
    document = instances(BOXES)
    change(document)
    with pytest.raises(DatasetError, match=message) as caught:
        read(tmp_path, document)
    assert '\n' not in str(caught.value)
    assert str(tmp_path / 'instances.json') in str(caught.value)


@pytest.mark.parametrize('content,message', {
    'missing': (None, 'No such file'), 'cut off': (b'{"images": [', 'expected JSON'),
    'no text': (b'\xff\xfe\x00', 'expected JSON'), 'deep': (b'[' * 100000, 'expected JSON'),
    'a list': (b'[]', "under 'images'")}.values())
def test_a_file_that_is_no_instances_is_refused(tmp_path, content, message):
    """One clear line with the path."""
    path = tmp_path / 'a.json'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        CocoDataset(path, tmp_path, CLASSES)
    assert '\n' not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize('bbox', [(5, 5, 0, 5), (5, 5, 4, -1), (-3, 5, 9, 9), (55, 5, 9, 9),
                                  (60.5, 5, 0.2, 3), (5, 5, 1e300, 5)])
def test_a_box_that_cannot_be_spoils_its_own_picture_only(tmp_path, bbox):
    """COCO itself has two without height; they must not stop who leaves them out."""
    good = 1, 1, 5, 5
    dataset = read(tmp_path, instances([(8, 7, good), (8, 7, bbox), (11, 7, good)]))
    assert len(dataset[0].boxes) == 1
    with pytest.raises(DatasetError, match='instances.json: annotation 101: expected a box'):
        dataset[2]


def test_a_picture_of_another_size_is_refused(tmp_path):
    """Boxes would lie anywhere on a picture that was resized after the annotation."""
    document = instances(BOXES)
    document['images'][0]['width'] = 640
    with pytest.raises(DatasetError, match='11.png: expected 640x40 as in .*, got 60x40'):
        read(tmp_path, document)[0]
    del document['images'][0]['width'], document['images'][0]['height']
    assert len(read(tmp_path, document)[0].boxes) == 1


def test_a_missing_picture_is_named(tmp_path):
    """When it is read."""
    dataset = read(tmp_path, instances(BOXES))
    (tmp_path / 'pictures' / '8.png').unlink()
    with pytest.raises(DatasetError, match='8.png: expected a picture, got no file'):
        dataset[2]
