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
"""Recipes are checked once, at birth, and say what each step does."""

from dataclasses import replace
from pathlib import Path

from mtl_perception.errors import ConfigError
from mtl_perception.recipe import (
    Augmentation, load_recipe, Recipe, recipe_from_mapping, recipe_to_json, Resolution, Source,
    Stage)
import pytest
import yaml

RECIPE = Recipe(
    name='squares', network='unified', classes='household', sources=(Source('voc', '.'),),
    validation=Source('voc', '.', 'val'), stages=(Stage('joint', 8),), batch_size=4,
    resolutions=(Resolution(0.0, 64), Resolution(0.75, 96)), warmup_steps=2)


def test_every_recipe_of_the_repository_is_valid():
    """And survives the way into a card and back."""
    folder = Path(__file__).resolve().parents[1] / 'config/train'
    paths = sorted(path for path in folder.rglob('*.yaml') if path.name != 'base.yaml')
    assert len(paths) > 1
    for path in paths:
        recipe = load_recipe(path)
        assert recipe_from_mapping(recipe_to_json(recipe)) == recipe


def test_a_recipe_changes_only_what_it_names_of_its_base(tmp_path):
    """And the command line has the last word."""
    (tmp_path / 'base.yaml').write_text(yaml.safe_dump(recipe_to_json(RECIPE)))
    (tmp_path / 'arm.yaml').write_text('base: base.yaml\nseed: 5\nname: arm\n')
    recipe = load_recipe(tmp_path / 'arm.yaml', ['seed=7', 'augmentation={flip: 0.25}'])
    assert recipe == replace(RECIPE, name='arm', seed=7, augmentation=Augmentation(flip=0.25))


@pytest.mark.parametrize('change', ('seed', 'seed=[', 'sede=3', 'seed=many'))
def test_a_wrong_change_is_refused(tmp_path, change):
    """No equals sign, no YAML, no field, no number."""
    (tmp_path / 'recipe.yaml').write_text(yaml.safe_dump(recipe_to_json(RECIPE)))
    with pytest.raises(ConfigError) as caught:
        load_recipe(tmp_path / 'recipe.yaml', [change])
    assert '\n' not in str(caught.value)


def test_schedule_rises_stays_and_falls():
    """Warm-up to the peak, flat to the middle, cosine to next to nothing."""
    recipe = replace(RECIPE, stages=(Stage('joint', 1000),), warmup_steps=100, flat=0.5,
                     learning_rate=1.0)
    rates = [recipe.learning_rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 101)
    assert rates[100:501] == pytest.approx([1.0] * 401)
    assert rates[750] == pytest.approx(0.5)
    assert 0 <= rates[-1] < 1e-4
    assert rates[500:] == sorted(rates[500:], reverse=True)


def test_resolution_steps_up_where_the_recipe_says():
    """Three quarters at 64, the rest at 96."""
    assert [RECIPE.resolution_at(step).side for step in range(8)] == [64] * 6 + [96] * 2


def test_each_stage_begins_anew():
    """Schedule and resolutions start again; what was learnt before is known."""
    recipe = replace(RECIPE, stages=(
        Stage('first', 8, ('segmentation',)), Stage('second', 4, ('detection',)),
        Stage('third', 4, ('classification', 'detection'))))
    assert recipe.steps == 16
    assert [recipe.stage_at(step) for step in (0, 7, 8, 11, 12)] == [
        (0, 0), (0, 0), (1, 8), (1, 8), (2, 12)]
    assert [recipe.resolution_at(step).side for step in range(8, 12)] == [64] * 3 + [96]
    assert recipe.learning_rate_at(8) == recipe.learning_rate_at(0)
    assert [recipe.earlier_tasks(number) for number in range(3)] == [
        (), ('segmentation',), ('segmentation',)]
    with pytest.raises(IndexError):
        recipe.stage_at(16)


WRONG = {
    'unknown field': ({'colour': 1}, 'only known fields'),
    'missing field': ({'network': None}, 'network'),
    'steps': ({'stages': [{'name': 'a', 'steps': 0}]},
              'steps: expected a whole number from 1, got 0'),
    'tasks': ({'stages': [{'name': 'a', 'steps': 1, 'tasks': ['boxes']}]}, 'some of detection'),
    'replay': ({'stages': [{'name': 'a', 'steps': 1, 'replay': 1}]}, 'from 0 to 0.99'),
    'twice': ({'stages': [{'name': 'a', 'steps': 1}] * 2}, 'different names'),
    'no source': ({'sources': []}, 'at least one'),
    'share': ({'sources': [{'format': 'voc', 'path': '.', 'share': 0}]}, 'above 0'),
    'source': ({'sources': [{'path': '.'}]}, 'sources'),
    'validation': ({'validation': '.'}, 'validation: expected a mapping'),
    'teachers': ({'teachers': {'boxes': 'x'}}, 'weights by task'),
    'side': ({'resolutions': [{'start': 0, 'side': 100}]}, 'multiple of 32'),
    'start': ({'resolutions': [{'start': 0.5, 'side': 64}]}, 'the first 0'),
    'rate': ({'learning_rate': float('nan')}, 'learning_rate'),
    'zoom': ({'resolutions': [{'start': 0, 'side': 64, 'zoom': [2, 1]}]}, 'ascending'),
    'chance': ({'augmentation': {'paste': 1.5}}, 'augmentation.paste: expected a number'),
    'list': ({'resolutions': 5}, 'expected a list'),
    'augmentation': ({'augmentation': {'spin': 1}}, 'only known fields'),
}


@pytest.mark.parametrize('name', WRONG)
def test_a_wrong_recipe_is_refused(name):
    """What is wrong is named."""
    change, message = WRONG[name]
    with pytest.raises(ConfigError, match=message) as caught:
        recipe_from_mapping({**recipe_to_json(RECIPE), **change})
    assert '\n' not in str(caught.value)
