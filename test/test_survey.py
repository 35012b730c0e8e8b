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
"""What is found out before a training starts."""

from dataclasses import replace
import os
from pathlib import Path
import pickle
import signal
import subprocess
import sys

from mtl_perception.card import ClassNames
from mtl_perception.data.datasets import KeptLabels, open_source
from mtl_perception.data.survey import require_complete, Survey, survey, without
from mtl_perception.data.voc import VocDataset
from mtl_perception.errors import DatasetError
from mtl_perception.household.classes import OBJECT_CLASSES, PLACES
from mtl_perception.recipe import Source, TASKS
import numpy as np
from PIL import Image
import psutil
import pytest
from squares import write_squares

CLASSES = ClassNames(OBJECT_CLASSES[:3], ('background', *OBJECT_CLASSES[:3]), PLACES[:3])


@pytest.fixture
def root(tmp_path):
    """Return a data set of eight pictures."""
    return write_squares(tmp_path, 'train', 8, side=48)


def spoil(root):
    """Damage pictures 1, 3, 4 and 6 each in another way and return the reasons expected."""
    picture = root / 'JPEGImages' / 'train_001.jpg'
    picture.write_bytes(picture.read_bytes()[:-60])
    annotation = root / 'Annotations' / 'train_003.xml'
    annotation.write_text('<annotation><object><name>sofa</name></object></annotation>')
    Image.fromarray(np.full((48, 48), 4, np.uint8)).save(
        root / 'SegmentationClass' / 'train_004.png')
    (root / 'JPEGImages' / 'train_006.jpg').unlink()
    return {1: 'a JPEG that is cut off', 3: "got 'sofa'", 4: 'ids below 4 or 255, got 4',
            6: 'got no file'}


def test_a_survey_counts_what_is_there(root):
    """Objects, pixels and pictures of each class, as counted one by one."""
    dataset = VocDataset(root, 'train', CLASSES)
    (root / 'Annotations' / 'train_002.xml').unlink()
    (root / 'SegmentationClass' / 'train_003.png').unlink()
    (root / 'SegmentationClass' / 'train_005.png').unlink()
    mask = dataset[4].mask
    mask[:, 20:30] = 255
    Image.fromarray(mask).save(root / 'SegmentationClass' / 'train_004.png')
    samples = list(dataset)
    found = survey(dataset, CLASSES)
    assert (found.frames, found.labelled, found.bad) == (8, (7, 6, 8), ())
    ids = np.concatenate([sample.class_ids for sample in samples if sample.boxes is not None])
    assert found.objects == tuple(np.count_nonzero(ids == number) for number in (1, 2, 3))
    masks = np.stack([sample.mask for sample in samples if sample.mask is not None])
    assert found.pixels == tuple(np.count_nonzero(masks == number) for number in range(4))
    assert found.pictures == tuple(sum(sample.image_class == number for sample in samples)
                                   for number in range(3))


def test_difficult_objects_are_no_examples(root):
    """Nothing is learnt from them."""
    for path in (root / 'Annotations').iterdir():
        path.write_text(path.read_text().replace(
            '<bndbox>', '<difficult>1</difficult><bndbox>'))
    found = survey(VocDataset(root, 'train', CLASSES), CLASSES)
    assert found.labelled[0] == 8 and found.objects == (0, 0, 0)
    with pytest.raises(DatasetError, match='got none of detection'):
        require_complete([found], CLASSES, ('detection',), 'recipe')


def test_bad_samples_are_told_and_can_be_left_out(root):
    """Each with its index and one line; the others are counted as if they stood alone."""
    reasons = spoil(root)
    dataset = VocDataset(root, 'train', CLASSES)
    found = survey(dataset, CLASSES)
    assert found.frames == 4 and found.bad_indices == tuple(reasons)
    for index, reason in found.bad:
        assert reasons[index] in reason and '\n' not in reason
    rest = without(dataset, found.bad_indices)
    assert [sample.name for sample in rest] == [f'train_00{number}' for number in (0, 2, 5, 7)]
    assert survey(rest, CLASSES) == found.readable == replace(found, bad=())


def test_processes_find_the_same(root):
    """A survey does not depend on who reads; data set and survey can be pickled."""
    spoil(root)
    dataset = without(open_source(Source('voc', str(root), frames=7), '.', CLASSES), [0])
    found = survey(dataset, CLASSES)
    assert len(found.bad) == 4
    assert survey(dataset, CLASSES, workers=2) == found
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_mistake_of_the_program_is_no_bad_sample(root):
    """It keeps its traceback, from a process too."""
    dataset = KeptLabels(VocDataset(root, 'train', CLASSES), TASKS)
    dataset._dropped = {'nonsense': 1}
    for workers in (0, 1):
        with pytest.raises(TypeError, match='nonsense'):
            survey(dataset, CLASSES, workers)


def test_progress_sees_every_sample(root):
    """It is given something with a length, which a bar needs."""
    seen = []

    def progress(indices):
        assert len(indices) == 8
        for index in indices:
            seen.append(index)
            yield index

    survey(VocDataset(root, 'train', CLASSES), CLASSES, progress=progress)
    assert seen == list(range(8))


SLOW = """
import signal
import sys
import time
sys.path.insert(0, {root!r})
from mtl_perception.card import ClassNames
from mtl_perception.data.sample import Sample
from mtl_perception.data.survey import survey
import numpy as np


class Slow:
    def __len__(self):
        return 40

    def __getitem__(self, index):
        time.sleep(0.3 if index >= 32 else 0.01)  # the last chunk leaves one process idle
        return Sample('x', np.zeros((4, 4, 3), np.uint8))


def progress(indices):
    for index in indices:
        print(index, flush=True)
        yield index


if __name__ == '__main__':
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    survey(Slow(), ClassNames(('a',), ('b', 'a'), ('c',)), 2, progress)
"""


@pytest.mark.parametrize('how', ['Ctrl-C', 'kill -9'])
def test_no_process_outlives_the_survey(tmp_path, how):
    """However it ends; and Ctrl-C shows the traceback of one process, not of each."""
    script = tmp_path / 'slow.py'
    script.write_text(SLOW.format(root=str(Path(__file__).resolve().parents[1])))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE, start_new_session=True) as process:
        while process.stdout.readline() != '20\n':
            assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        if how == 'Ctrl-C':
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.kill()
        _, alive = psutil.wait_procs(children, timeout=60)
        for child in alive:
            child.kill()
        _, errors = process.communicate(timeout=60)
    assert alive == []
    assert errors.count('Traceback') == errors.count('KeyboardInterrupt') == (how == 'Ctrl-C')


FULL = Survey(9, (9, 9, 9), (1, 2, 3), (50, 5, 6, 7), (3, 3, 3))


def test_what_is_complete_passes():
    """All together must have every class, not each; the background may be absent."""
    require_complete([FULL], CLASSES, TASKS, 'recipe')
    halves = [replace(FULL, objects=(1, 0, 2), pictures=(0, 0, 0), pixels=(0, 0, 5, 5)),
              replace(FULL, objects=(0, 1, 0), pictures=(1, 1, 1), pixels=(0, 1, 0, 0))]
    require_complete(halves, CLASSES, TASKS, 'recipe')
    require_complete([replace(FULL, objects=(0, 0, 0))], CLASSES, TASKS[1:], 'recipe')
    require_complete([replace(FULL, objects=(0, 0, 0))], CLASSES, (), 'recipe')


def test_a_class_without_an_example_is_named():
    """In one line, with its task."""
    lacking = replace(FULL, objects=(1, 0, 0), pixels=(9, 9, 9, 0))
    with pytest.raises(DatasetError) as caught:
        require_complete([lacking, lacking], CLASSES, TASKS, 'recipe mine')
    assert str(caught.value) == (
        'recipe mine: expected an example of every class that is learnt, got none of detection '
        f'{OBJECT_CLASSES[1]}, {OBJECT_CLASSES[2]}; segmentation {OBJECT_CLASSES[2]}: add such '
        'pictures, or take the names off the classes')


def test_many_classes_without_an_example_are_a_short_line():
    """The first of them and how many more."""
    classes = replace(CLASSES, detection=tuple(f'c{number}' for number in range(80)))
    with pytest.raises(DatasetError, match='c0, c1, .*, c7 and 72 more: '):
        require_complete([replace(FULL, objects=(0,) * 80)], classes, TASKS, 'recipe')


def test_bad_samples_refuse_a_training_unless_they_are_left_out():
    """One line: how many, the first reason, and what to do."""
    spoilt = replace(FULL, bad=((3, 'a.jpg: expected a picture'), (4, 'other')))
    with pytest.raises(DatasetError, match='recipe: expected 20 readable samples, got 2 bad .*'
                                           'skip_bad: true .* a.jpg: expected a picture$'):
        require_complete([FULL, spoilt], CLASSES, TASKS, 'recipe')
    require_complete([FULL, spoilt.readable], CLASSES, TASKS, 'recipe')
