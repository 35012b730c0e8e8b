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
"""The page of a run says what its log says, and holds the recipe that made it."""

from dataclasses import replace
import math
import os
import re

from mtl_perception.recipe import load_recipe, Recipe, Source, Stage
from mtl_perception.run_report import (
    forgetting, REPORT, stage_ends, training_minutes, write_run_report)
import pytest

RECIPE = Recipe(
    name='staged', network='unified', classes='household',
    sources=(Source('voc', 'kitchen', share=3.0), Source('folders', 'rooms', frames=50)),
    validation=Source('voc', 'kitchen', 'val'), batch_size=8, start_from='household',
    stages=(Stage('masks', 40, ('segmentation',)),
            Stage('boxes', 40, ('detection',), freeze_norm=True, replay=0.25, distillation=1.0),
            Stage('places', 40, ('classification',))))
# map50_95, map50, miou and top1 at the end of each stage.
FIGURES = ((0.01, 0.02, 0.8, math.nan), (0.5, 0.8, 0.6, math.nan), (0.4, 0.4, 0.2, 0.95))


def train_entry(step, speed):
    return {'step': step, 'kind': 'train', 'images_per_second': speed, 'box': 1.5, 'total': 2.25}


def validation(step, stage, figures, ends_stage=True):
    return {'step': step, 'kind': 'validation', 'stage': stage, 'ends_stage': ends_stage,
            **dict(zip(('map50_95', 'map50', 'miou', 'top1'), figures))}


def log(stages=3):
    """Return the log of a run whose first so many stages have ended."""
    entries = []
    for number, figures in enumerate(FIGURES[:stages]):
        start, name = 40 * number, RECIPE.stages[number].name
        entries += [train_entry(start + 20, 16.0), validation(start + 20, name, (0.9,) * 4, False),
                    train_entry(start + 40, 8.0), validation(start + 40, name, figures)]
    return entries


def report(folder, recipe=RECIPE, entries=None):
    write_run_report(recipe, log() if entries is None else entries, folder)
    return (folder / REPORT).read_text(encoding='utf-8')


def row(text, first):
    """Return the cells of the last table row that begins with ``first``."""
    line = re.findall(rf'^\| {first} +\|.*$', text, re.MULTILINE)[-1]
    return [cell.strip() for cell in line.strip('|').split('|')][1:]


def test_how_far_the_run_is(tmp_path):
    """120 steps of 8 at 16 and 8 images/s in turn: 60 steps of 0.5 s and 60 of 1 s."""
    assert training_minutes(log(), 8) == pytest.approx(1.5)
    assert 'Finished: step 120 of 120, 960 images seen in 1.5 minutes, 12.0 images/s' in \
        report(tmp_path)
    assert 'stopped: step 40 of 120, 320 images' in report(tmp_path, entries=log(1))


def test_the_matrix_of_stages_and_tasks(tmp_path):
    """Rows are the ends of stages; a validation within a stage is none of them."""
    text = report(tmp_path)
    assert row(text, 'masks')[1:] == ['0.010', '0.020', '0.800', '-']
    assert row(text, 'boxes')[1:] == ['0.500', '0.800', '0.600', '-']
    assert row(text, 'places')[1:] == ['0.400', '0.400', '0.200', '0.950']


def test_forgetting_is_of_earlier_tasks_and_from_their_best():
    """The mask fell from 0.8 to 0.2; the class was just learnt, so nothing is said of it."""
    ends = stage_ends(log())
    assert forgetting(RECIPE, ends) == {
        'miou': pytest.approx(0.75), 'map50_95': pytest.approx(0.2), 'map50': pytest.approx(0.5)}
    assert forgetting(RECIPE, ends[:2]) == {'miou': pytest.approx(0.25)}
    assert forgetting(RECIPE, ends[:1]) == {}
    assert forgetting(RECIPE, []) == {}


def test_forgetting_below_zero_is_a_gain_and_a_missing_label_is_no_number(tmp_path):
    """Neither hides the other figures."""
    entries = log()
    entries[-1].update(miou=0.88, map50=None, map50_95=math.nan)
    text = report(tmp_path, entries=entries)
    assert row(text, 'forgetting')[1:] == ['-', '-', '-0.100', '-']


def test_one_stage_has_no_matrix(tmp_path):
    """Joint training forgets nothing by its order."""
    recipe = replace(RECIPE, stages=(Stage('joint', 40),))
    text = report(tmp_path, recipe, [train_entry(40, 8.0), validation(40, 'joint', FIGURES[2])])
    assert 'forgetting' not in text and row(text, 'mIoU') == ['0.200']


def test_what_was_trained(tmp_path):
    """Sources with the tasks that their format can have, stages with what protects the rest."""
    text = report(tmp_path)
    assert row(text, 'folders') == ['`rooms`', '-', 'classification', '1', '50']
    stage = RECIPE.stages[1]
    kept, = (line for line in text.splitlines() if re.match(rf'\| {stage.name} +\| 40 ', line))
    assert 'norms frozen' in kept and 'replay 0.25' in kept and 'distillation 1' in kept
    assert 'from the weights `household`, seed 1' in text
    assert row(text, 'total') == ['2.250']


def test_both_pictures_are_shown(tmp_path):
    """They lie beside the page."""
    assert re.findall(r'!\[.*\]\((.*)\)', report(tmp_path)) == ['eval_metrics.png',
                                                                'loss_curve.png']


def test_the_recipe_on_the_page_repeats_the_run(tmp_path):
    """What stands between the fences is the whole recipe."""
    block = re.search(r'```yaml\n(.*?)```', report(tmp_path), re.DOTALL).group(1)
    (tmp_path / 'again.yaml').write_text(block)
    assert load_recipe(tmp_path / 'again.yaml') == RECIPE


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    """No figure yet is no error."""
    assert 'step 0 of 120' in report(tmp_path, entries=[])


def test_a_reader_never_sees_half_a_page(tmp_path, monkeypatch):
    """Where the writer dies before the end, the page that was there stands."""
    before = report(tmp_path, entries=log(1))

    def die(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(os, 'replace', die)
    with pytest.raises(KeyboardInterrupt):
        write_run_report(RECIPE, log(), tmp_path)
    assert (tmp_path / REPORT).read_text(encoding='utf-8') == before
