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
"""Test that the study's rows are comparable, and that its page says what its numbers say."""

import json
from pathlib import Path
import re
import sys

import cv2
from mtl_perception.data.plan import plan_batches
from mtl_perception.errors import PerceptionError
from mtl_perception.household.classes import OBJECT_CLASSES, PLACES
from mtl_perception.household.splits import SPLITS
from mtl_perception.recipe import load_recipe, TASKS
from mtl_perception.run_folder import RunFolder
from mtl_perception.training import train
import numpy as np
from PIL import Image
import pytest
from squares import FOLDERS
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tools'))

import study  # noqa: E402, I100 tools/ is no package
import study_page  # noqa: E402, I100

STUDY = study.Study(Path('data'), Path('runs'), Path('docs'))
ROWS = study.matrix()


def write_rooms(root, split):
    """Write one picture for each place, an object on each, all classes among them."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows = ['name,class']
    for number, place in enumerate(PLACES):
        name, index = f'{split}_{number:03d}', number % len(OBJECT_CLASSES)
        image = np.full((64, 64, 3), 8 * number, np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        image[16:48, 20:52] = 12 * index, 200, 255 - 12 * index
        mask[16:48, 20:52] = index + 1
        cv2.imwrite(str(root / 'JPEGImages' / f'{name}.jpg'), image)
        Image.fromarray(mask).save(root / 'SegmentationClass' / f'{name}.png')
        (root / 'Annotations' / f'{name}.xml').write_text(
            f'<annotation><object><name>{OBJECT_CLASSES[index]}</name><bndbox><xmin>21</xmin>'
            '<ymin>17</ymin><xmax>52</xmax><ymax>48</ymax></bndbox></object></annotation>')
        rows.append(f'{name},{place}')
    (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text(
        '\n'.join(row.partition(',')[0] for row in rows[1:]) + '\n')
    (root / 'ImageSets' / 'Classification' / f'{split}.csv').write_text('\n'.join(rows) + '\n')


@pytest.fixture
def small(tmp_path):
    """Return a study of two steps a stage on 30 pictures, and a page of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for split in ('study', 'study_test'):
        write_rooms(tmp_path / 'data', split)
    (tmp_path / 'STUDY.md').write_text((ROOT / 'docs' / 'STUDY.md').read_text())
    yield study.Study(tmp_path / 'data', tmp_path / 'runs', tmp_path, steps=2)
    torch.set_num_threads(before)


def test_every_row_is_a_recipe_and_every_recipe_a_row():
    """No arm is written down and left out; the network and seed are the row's."""
    for row in ROWS:
        recipe = STUDY.recipe(row)
        assert (recipe.name, recipe.network, recipe.seed) == (row.arm, row.network, row.seed)
        assert all(step < recipe.steps for step in (recipe.warmup_steps,))
    arms = {path.stem for path in (ROOT / study.RECIPES).glob('*.yaml')} - {'base'}
    assert {row.arm for row in ROWS} == arms
    assert len(set(ROWS)) == len(ROWS)


def test_the_headline_has_three_seeds():
    """Naive staged training in both networks, its remedy, the joint network and the singles."""
    headline = [(arm, 'unified') for arm in (
        'staged_naive', 'staged_all', 'joint', *(f'single_{task}' for task in TASKS))]
    for arm, network in (*headline, ('staged_naive', 'report')):
        assert {row.seed for row in ROWS
                if (row.arm, row.network) == (arm, network)} == set(study.SEEDS)


@pytest.mark.parametrize('network', ['unified', 'report'])
def test_budgets_are_equal(network):
    """A stage has the same steps, pictures and sizes everywhere; only the arms' points differ."""
    recipes = {path.stem: load_recipe(path, [f'network={network}'])
               for path in (ROOT / study.RECIPES).glob('*.yaml') if path.stem != 'base'}
    steps = recipes['single_detection'].steps
    for arm, recipe in recipes.items():
        wanted = 3 * steps if arm == 'joint_long' else steps
        assert [stage.steps for stage in recipe.stages] == [wanted] * len(recipe.stages)
        for name in ('sources', 'validation', 'input_side', 'batch_size', 'resolutions',
                     'learning_rate', 'loss_weights', 'augmentation', 'ema_decay', 'start_from',
                     'trunk'):
            assert getattr(recipe, name) == getattr(recipes['joint'], name), (arm, name)
        learnt = [task for stage in recipe.stages for task in stage.tasks]
        assert sorted(learnt) == (sorted(TASKS) if not arm.startswith('single')
                                  else [arm.partition('_')[2]])
        plan = plan_batches(recipe, [range(2400)], 114)
        for step in range(0, recipe.steps, steps):
            counts = [part.count for part in plan(step).parts]
            assert sum(counts) == recipe.batch_size
            replay = step > 0 and arm in ('staged_replay', 'staged_all', 'staged_all_reversed')
            assert len(counts) == 1 + replay
            assert not replay or counts[1] == recipe.batch_size // 4
    assert [stage.tasks for stage in recipes['staged_naive_reversed'].stages] == \
        [stage.tasks for stage in recipes['staged_naive'].stages][::-1]


def test_the_study_has_scenes_of_its_own():
    """It never sees what the shipped weights are measured on."""
    names = ('study', 'study_test', 'study_val')
    seeds = {SPLITS[name].seed for name in names}
    assert len(seeds) == 3
    assert not seeds & {split.seed for name, split in SPLITS.items() if name not in names}


def test_rows_come_after_what_they_need():
    """One arm alone brings the single-task runs that it goes on from or learns from."""
    rows = study.with_needs(STUDY, [study.Row('staged_all_reversed', 'unified', 11),
                                    study.Row('joint_distilled', 'unified', 11)])
    assert [row.arm for row in rows] == [
        'single_classification', 'staged_all_reversed', 'single_detection',
        'single_segmentation', 'joint_distilled']
    every = study.with_needs(STUDY, ROWS)
    assert set(every) == set(ROWS)
    for number, row in enumerate(every):
        assert set(STUDY.needs(row)) <= set(every[:number])


def test_list_prints_commands_that_train_takes(capsys):
    """What --list prints is a recipe, changes of it, and what must be exported before."""
    assert study.main(['--list', '--only', 'joint_distilled']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ['train'] * 3 + ['export'] * 3 + ['train']
    assert '--set network=unified --set seed=11' in lines[0]
    assert 'runs/study/weights/unified-single_detection-11' in lines[-1]


def test_a_staged_run_may_take_over_its_first_stage(small):
    """The single-task run of the first task is that stage, bit by bit."""
    single, staged = (study.Row(arm, 'unified', 11)
                      for arm in ('single_segmentation', 'staged_all'))
    train(small.recipe(single), small.data, small.folder(single), workers=0)
    study.take_over(small, staged)
    train(small.recipe(staged), small.data, small.folder(staged), workers=0)
    whole = train(small.recipe(staged), small.data, small.runs / 'whole', workers=0)
    first, second = (RunFolder(path).read_state() for path in (small.folder(staged), whole))
    for name in ('network', 'average', 'found'):
        assert all(torch.equal(first[name][key], second[name][key]) for key in first[name])
    figures = [[(entry['stage'], entry['miou']) for entry in RunFolder(path).read_log()
                if entry['kind'] == 'validation'] for path in (small.folder(staged), whole)]
    assert figures[0] == figures[1] and len(figures[0]) == 3
    assert study.is_finished(small, staged)


def test_rows_run_once_and_fill_the_page(small, capfd):
    """A finished run is skipped, the page has its figures, a failure is told with its reason."""
    rows = [study.Row('single_segmentation', 'unified', 11)]
    study.run_rows(small, rows, jobs=2)
    document = json.loads((small.docs / 'study.json').read_text())
    assert [run['arm'] for run in document['runs']] == ['single_segmentation']
    assert document['protocol']['chance']['miou'] == pytest.approx(0.75 / 21, abs=1e-3)
    miou = document['runs'][0]['stages'][-1]['miou']
    assert f'{miou:.3f}' in (small.docs / 'STUDY.md').read_text()
    assert (small.docs / 'study.png').read_bytes()[:4] == b'\x89PNG'
    state = (small.folder(rows[0]) / 'state.pt').stat().st_mtime_ns
    study.run_rows(small, rows, jobs=2)
    assert (small.folder(rows[0]) / 'state.pt').stat().st_mtime_ns == state
    (small.data / 'JPEGImages' / 'study_000.jpg').write_bytes(b'no picture')
    with pytest.raises(PerceptionError, match='1 runs failed and 1 more'):
        study.run_rows(small, [study.Row('staged_naive', 'report', 11)], jobs=1)
    assert 'study_000' in capfd.readouterr().out


def a_run(arm, seed, *ends, network='unified'):
    """Return a run whose stages ended with (mIoU, mAP50, top-1)."""
    return {'arm': arm, 'network': network, 'seed': seed, 'steps': 10, 'minutes': 1.0,
            'stages': [{'stage': str(number), 'step': number, 'miou': miou, 'map50': map50,
                        'map50_95': map50 / 2, 'top1': top1}
                       for number, (miou, map50, top1) in enumerate(ends)]}


DOCUMENT = {
    'protocol': {'steps': 10, 'batch_size': 8, 'frames': 40, 'side': 96,
                 'chance': {'map50': 0.0, 'miou': 0.04, 'top1': 0.03}},
    'runs': [
        a_run('single_segmentation', 1, (0.5, 0.0, 0.0)),
        a_run('single_segmentation', 2, (0.7, 0.0, 0.0)),
        a_run('single_detection', 1, (0.0, 0.5, 0.0)),
        a_run('single_classification', 1, (0.0, 0.0, 0.8)),
        a_run('joint', 1, (0.66, 0.55, 0.72)),
        a_run('staged_naive', 1, (0.5, 0.0, 0.0), (0.25, 0.4, 0.0), (0.1, 0.1, 0.8)),
        a_run('staged_naive', 2, (0.7, 0.0, 0.0), (0.35, 0.5, 0.0), (0.21, 0.2, 0.6)),
    ]}


def test_arithmetic_of_the_page():
    """Forgetting and relative change, by hand."""
    single = study_page.baselines(DOCUMENT, 'unified')
    assert single == pytest.approx({'miou': 0.6, 'map50': 0.5, 'top1': 0.8})
    joint = study_page.of_arm(DOCUMENT, 'unified', 'joint')[0]['stages'][-1]
    assert study_page.delta_m(joint, single) == pytest.approx((0.1 + 0.1 - 0.1) / 3)
    assert study_page.delta_m(single, single) == 0
    naive = study_page.of_arm(DOCUMENT, 'unified', 'staged_naive')
    assert study_page.lost(naive[0]) == pytest.approx([0.8, 0.75])
    assert study_page.lost(naive[1]) == pytest.approx([0.7, 0.6])
    assert study_page.spread([0.8, 0.7]) == '0.750 ± 0.071'
    assert study_page.spread([0.8], study_page.percent) == '80.0'


def test_the_tables_hold_the_figures(tmp_path):
    """A row has mean and spread over its seeds; an arm without runs has no row."""
    text = study_page.headline(DOCUMENT)
    line = next(line for line in text.splitlines() if 'staged, naive' in line)
    assert [cell.strip() for cell in line.split('|')[1:6]] == [
        'staged, naive', '2', '10', '0.150 ± 0.071', '0.155 ± 0.078']
    assert 'joint, the steps of one task ' in text and 'staged, replay' not in text
    assert 'One stage is 10 steps of 8 pictures, 80 in all, each of the 40 frames 2.0 times' in \
        study_page.budget(DOCUMENT)
    stages = re.sub(' +', ' ', study_page.stages(DOCUMENT))
    assert '| staged, naive | 2, detection | 0.450 ± 0.071 | 0.300 ± 0.071 | – |' in stages
    study_page.draw(DOCUMENT, tmp_path / 'study.png')
    assert cv2.imread(str(tmp_path / 'study.png')).std() > 20


def test_the_page_is_made_of_its_numbers():
    """The tables in docs/STUDY.md are those of docs/study.json."""
    page = (ROOT / 'docs' / 'STUDY.md').read_text()
    document = json.loads((ROOT / 'docs' / 'study.json').read_text())
    assert study_page.fill(page, document) == page
    with pytest.raises(ValueError, match='budget'):
        study_page.fill('no place', document)
