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
"""Every batch holds what the recipe says, from every source, in a repeatable order."""

from hypothesis import given, settings, strategies
from mtl_perception.data.batches import TrainingStream
from mtl_perception.data.plan import apportion, plan_batches
from mtl_perception.data.sample import Sample
from mtl_perception.errors import ConfigError
from mtl_perception.recipe import Augmentation, Recipe, Resolution, Source, Stage
import numpy as np
import pytest

STILL = Augmentation(flip=0, view=0, colour=0, degrade=0)


def numbered(first, count, **labels):
    """Return samples whose grey is their number."""
    return [Sample(str(number), np.full((32, 32, 3), number, np.uint8), **labels)
            for number in range(first, first + count)]


BOXES = {'boxes': np.zeros((0, 4), np.float32), 'class_ids': np.zeros(0, np.int64),
         'difficult': np.zeros(0, bool)}
DATASETS = (numbered(0, 10, **BOXES, mask=np.zeros((32, 32), np.uint8)),
            numbered(100, 4, **BOXES), numbered(200, 6, image_class=1))
RECIPE = Recipe(
    name='mixed', network='unified', classes='household',
    sources=(Source('voc', 'a', tasks=('detection', 'segmentation'), share=2.0),
             Source('coco', 'b'), Source('folders', 'c')),
    validation=Source('voc', 'a', 'val'), stages=(Stage('joint', 20),), batch_size=8,
    resolutions=(Resolution(0.0, 32), Resolution(0.5, 64)), augmentation=STILL)


def stream(recipe=RECIPE, **of_several):
    """Return the batches of a recipe."""
    return TrainingStream(plan_batches(recipe, DATASETS, 114), recipe.steps, 114, recipe.seed,
                          **of_several)


def greys(batch):
    """Return the numbers of the samples in a batch."""
    return batch.images[:, 0, 0, 0].tolist()


@settings(max_examples=200, deadline=None)
@given(shares=strategies.lists(strategies.floats(0.01, 100), min_size=1, max_size=8),
       spare=strategies.integers(0, 60))
def test_counts_add_up_and_leave_nobody_out(shares, spare):
    """Each is within one of its exact share, or one where that is less."""
    total = len(shares) + spare
    counts = apportion(shares, total)
    assert sum(counts) == total
    assert min(counts) >= 1
    exact = np.array(shares) / sum(shares) * total
    if exact.min() >= 1:
        assert np.abs(np.array(counts) - exact).max() < 1


def test_more_sources_than_pictures_are_refused():
    """A source that never comes would silently not be learnt."""
    with pytest.raises(ConfigError, match='batch_size'):
        apportion([1, 1, 1], 2)


def test_every_batch_holds_every_source_by_its_share():
    """Two to one to one, and each picture once before any comes again."""
    seen = []
    for step in range(20):
        numbers = np.array(greys(stream()[step]))
        assert [(numbers // 100 == source).sum() for source in range(3)] == [4, 2, 2]
        seen.extend(numbers)
    for source, count in enumerate((10, 4, 6)):
        own = [number for number in seen if number // 100 == source]
        whole = len(own) // count * count
        for start in range(0, whole, count):
            assert len(set(own[start:start + count])) == count


def test_each_picture_has_the_labels_that_it_has():
    """Masks from the first source, boxes from two, image classes from the third."""
    batch = stream()[3]
    source = np.array(greys(batch)) // 100
    assert (batch.targets.has_boxes.numpy() == (source < 2)).all()
    assert ((batch.targets.masks != 255).flatten(1).any(dim=1).numpy() == (source == 0)).all()
    assert ((batch.targets.image_classes >= 0).numpy() == (source == 2)).all()


def test_resolution_follows_the_step():
    """Small first."""
    assert stream()[9].images.shape == (8, 32, 32, 3)
    assert stream()[10].images.shape == (8, 64, 64, 3)


def test_several_processes_share_each_batch():
    """Together they make what one would."""
    for step in (0, 7):
        whole = greys(stream()[step])
        parts = [greys(stream(rank=rank, world=2)[step]) for rank in range(2)]
        assert parts == [whole[0::2], whole[1::2]]


def test_a_source_without_labels_for_the_stage_is_left_out():
    """The others share its place."""
    recipe = Recipe(**{**vars(RECIPE), 'stages': (Stage('boxes', 2, ('detection',)),)})
    numbers = np.array(greys(stream(recipe)[0]))
    assert [(numbers // 100 == source).sum() for source in range(3)] == [5, 3, 0]
