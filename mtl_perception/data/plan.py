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
"""What the batches of a recipe's stages are made of."""

from functools import lru_cache
from typing import Callable, List, Sequence, Tuple

from mtl_perception.augment import (
    Augmentation, ColourJitter, CopyPaste, Degrade, HorizontalFlip, RandomView, Recolour)
from mtl_perception.data.batches import BatchPlan, Part
from mtl_perception.data.datasets import KeptLabels, tasks_of
from mtl_perception.data.sample import Sample
from mtl_perception.errors import ConfigError
from mtl_perception.recipe import Recipe, Resolution


def augmentations_of(recipe: Recipe, zoom: Tuple[float, float], dataset: Sequence[Sample],
                     pad_value: int) -> Tuple[Augmentation, ...]:
    """
    Return what the recipe does to every picture, in order.

    :param zoom: of the windows
    :param dataset: of samples whose objects are pasted
    :param pad_value: grey of what lies outside the picture
    """
    strength = recipe.augmentation
    return (RandomView(zoom, probability=strength.view, aimed=strength.aimed,
                       place_zoom=strength.place_zoom, grey=pad_value),
            CopyPaste(dataset, strength.paste),
            HorizontalFlip(strength.flip),
            Recolour(strength.recolour),
            ColourJitter(probability=strength.colour),
            Degrade(probability=strength.degrade))


def apportion(shares: Sequence[float], total: int) -> List[int]:
    """
    Return whole counts that add up to ``total`` in the proportion of ``shares``, each from 1.

    :raises ConfigError: if there are more shares than ``total``
    """
    if len(shares) > total:
        raise ConfigError(f'recipe: batch_size: expected at least one picture for each of '
                          f'{len(shares)} sources, got {total}')
    exact = [share / sum(shares) * total for share in shares]
    counts = [max(1, int(value)) for value in exact]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        able = [number for number, count in enumerate(counts) if count + step >= 1]
        counts[max(able, key=lambda number: step * (exact[number] - counts[number]))] += step
    return counts


def _learnt(recipe: Recipe, number: int, datasets: Sequence[Sequence[Sample]]
            ) -> List[Tuple[Sequence[Sample], float]]:
    """Return the data sets of a stage, each with the labels it learns, and their shares."""
    stage = recipe.stages[number]
    parts = []
    for tasks, share, frames in ((stage.tasks, 1.0 - stage.replay, 0),
                                 (recipe.earlier_tasks(number), stage.replay,
                                  stage.replay_frames)):
        fitting = [(source, dataset) for source, dataset in zip(recipe.sources, datasets)
                   if set(tasks) & set(tasks_of(source))]
        whole = sum(source.share for source, _ in fitting)
        if share > 0:
            parts.extend((KeptLabels(dataset, tasks, frames), share * source.share / whole)
                         for source, dataset in fitting)
    return parts


def plan_batches(recipe: Recipe, datasets: Sequence[Sequence[Sample]], pad_value: int
                 ) -> Callable[[int], BatchPlan]:
    """
    Return the function from a step of the recipe to what its batch is made of.

    Every batch holds pictures of all sources that have labels for the stage, in proportion to
    their shares, at least one of each.

    :param datasets: of the recipe's sources, in their order
    :param pad_value: grey of what lies outside a picture
    :raises ConfigError: if a stage has no source with its labels, or a batch has too few pictures
    """
    stages = []
    for number, stage in enumerate(recipe.stages):
        learnt = _learnt(recipe, number, datasets)
        if not learnt:
            raise ConfigError(f'recipe: stages: {stage.name}: expected a source with labels for '
                              f'{", ".join(stage.tasks)}, got none')
        stages.append((learnt, apportion([share for _, share in learnt], recipe.batch_size)))

    @lru_cache(maxsize=None)
    def parts(number: int, resolution: Resolution) -> Tuple[Part, ...]:
        learnt, counts = stages[number]
        return tuple(Part(dataset, count,
                          augmentations_of(recipe, resolution.zoom, dataset, pad_value),
                          1000 * number + order)
                     for order, ((dataset, _), count) in enumerate(zip(learnt, counts)))

    def plan(step: int) -> BatchPlan:
        number, start = recipe.stage_at(step)
        resolution = recipe.resolution_at(step)
        return BatchPlan(resolution.side, step - start, parts(number, resolution))
    return plan
