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
"""docs/TRAINING.md holds: its recipes load and run, its commands, fields and errors are real."""

from dataclasses import fields, MISSING
import json
from pathlib import Path
import re
import shlex
import subprocess
import sys

import cv2
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.cli import evaluate, export, predict, train, training_speed
from mtl_perception.data.plan import apportion
from mtl_perception.losses import LossWeights
from mtl_perception.recipe import (
    Augmentation, load_recipe, Recipe, recipe_from_mapping, Resolution, Source, Stage)
from mtl_perception.training import card_of
import numpy as np
from PIL import Image
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / 'docs' / 'TRAINING.md').read_text(encoding='utf-8')
RECIPE = ROOT / 'config' / 'train' / 'own_pictures.yaml'
COMMANDS = {'train': train, 'evaluate': evaluate, 'export': export, 'predict': predict,
            'mtl_perception.cli.train': train, 'mtl_perception.cli.training_speed': training_speed}
TABLES = {'A recipe': Recipe, 'Each of `sources`': Source, 'Each of `stages`': Stage,
          'Each of `resolutions`': Resolution, '`augmentation`': Augmentation,
          '`loss_weights`': LossWeights}


def blocks(language):
    """Return what stands in the page's fences of a language."""
    return re.findall(rf'```{language}\n(.*?)```', PAGE, re.DOTALL)


ERRORS = blocks('text')[-1].splitlines()


def command_lines():
    """Return the words of each command of the page."""
    return [shlex.split(line, comments=True) for block in blocks('bash')
            for line in block.splitlines()]


def parts(words):
    """Return the package's command among the words, and what it is given."""
    names = [Path(word).name if word.startswith('.venv') else word for word in words]
    name = next((name for name in names if name in COMMANDS), None)
    return (name, words[names.index(name) + 1:]) if name else (None, [])


def test_the_recipes_of_the_page_are_recipes():
    """And one of them is the file that it tells to copy."""
    recipes = [recipe_from_mapping(yaml.safe_load(block)) for block in blocks('yaml')]
    assert len(recipes) == 2 and recipes[0] == load_recipe(RECIPE)
    assert recipes[1].earlier_tasks(1) == ('detection', 'segmentation')
    for recipe in recipes:
        assert card_of(recipe).classes.segmentation == ('background', 'mug', 'bottle', 'bowl')


def test_the_batch_is_shared_as_the_page_says():
    """8, 4 and 4 of 16."""
    recipe = load_recipe(RECIPE)
    counts = apportion([source.share for source in recipe.sources], recipe.batch_size)
    assert 'of 16 pictures, 8 are from `objects`, 4 from `more_objects`, 4 from `places`' in PAGE
    assert (recipe.batch_size, counts) == (16, [8, 4, 4])


def test_every_flag_of_the_page_is_in_the_help(capsys):
    """A flag that is renamed must be renamed here too."""
    seen = set()
    for words in command_lines():
        name, arguments = parts(words)
        if name is None:
            assert words[:2] == ['ros2', 'launch']
            continue
        seen.add(name)
        with pytest.raises(SystemExit):
            COMMANDS[name].main(['--help'])
        text = capsys.readouterr().out
        for flag in (word for word in arguments if word.startswith('--')):
            assert re.search(rf'{flag}\b', text), f'{name} {flag}'
    assert seen == set(COMMANDS)


def test_the_launch_arguments_of_the_page_exist():
    """As declared in the launch file."""
    launch = (ROOT / 'launch' / 'perception.launch.py').read_text(encoding='utf-8')
    words, = (words for words in command_lines() if words[0] == 'ros2')
    assert words[3] == 'perception.launch.py'
    for word in words[4:]:
        assert f"'{word.partition(':=')[0]}'" in launch


def test_what_the_page_sets_can_be_set():
    """Each --set, and the recipe's change in the text, gives a recipe."""
    lines = [arguments for name, arguments in map(parts, command_lines()) if name == 'train']
    changes = [after for line in lines for before, after in zip(line, line[1:])
               if before == '--set']
    recipe = load_recipe(RECIPE, changes)
    assert recipe.seed == 2 and recipe.steps == 6000
    stages, = re.findall(r'`stages: (\[.*?\])`', PAGE)
    assert load_recipe(RECIPE, [f'stages={stages}']).stages[0].tasks == ('detection',)


@pytest.mark.parametrize('heading', TABLES)
def test_every_field_is_in_its_table(heading):
    """In the order of the code, with the code's default."""
    section = PAGE.split(f'\n### {heading}')[1].split('\n### ')[0]
    rows = dict(re.findall(r'^\| `(\w+)` \| (.*?) \|', section, re.MULTILINE))
    items = fields(TABLES[heading])
    assert list(rows) == [item.name for item in items]
    for item in items:
        if item.default is MISSING and item.default_factory is MISSING:
            assert rows[item.name] == '-'
            continue
        given = yaml.safe_load(rows[item.name].strip('`'))
        default = item.default_factory() if item.default is MISSING else item.default
        if item.name == 'resolutions':
            given, default = Resolution(**given[0]), default[0]
        elif item.name == 'augmentation':
            given = Augmentation(**given)
        elif isinstance(default, tuple):
            given = tuple(given)
        assert given == default, item.name


def box(number):
    return [8 + 4 * number, 10, 20, 24]  # x, y, width, height


def write_photos(root):
    """Write pictures in the layout of the page, a square of each class in turn."""
    recipe = yaml.safe_load(blocks('yaml')[0])
    names, places = recipe['classes']['detection'], recipe['classes']['classification']
    objects, more = root / 'objects', root / 'more_objects' / 'pictures'
    folders = ('JPEGImages', 'Annotations', 'SegmentationClass', 'ImageSets/Main')
    for folder in (more, *(objects / name for name in folders),
                   *(root / 'places/train' / name for name in places)):
        folder.mkdir(parents=True)
    coco = {'images': [], 'annotations': [],
            'categories': [{'id': number, 'name': name} for number, name in enumerate(names)]}
    for number, name in enumerate(names):
        x, y, width, height = box(number)
        picture = np.full((64, 64, 3), 50 + 60 * number, np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        picture[y:y + height, x:x + width] = np.roll((220, 30, 30), number)
        mask[y:y + height, x:x + width] = number + 1
        for path in (objects / f'JPEGImages/{number}.jpg', more / f'{number}.png',
                     root / f'places/train/{places[number]}/{number}.jpg'):
            cv2.imwrite(str(path), picture)
        Image.fromarray(mask).save(objects / f'SegmentationClass/{number}.png')
        (objects / f'Annotations/{number}.xml').write_text(
            f'<annotation><object><name>{name}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}'
            f'</ymin><xmax>{x + width}</xmax><ymax>{y + height}</ymax></bndbox></object>'
            '</annotation>')
        coco['images'].append({'id': number, 'file_name': f'{number}.png'})
        coco['annotations'].append({'id': number, 'image_id': number, 'category_id': number,
                                    'bbox': box(number)})
    (more.parent / 'instances.json').write_text(json.dumps(coco))
    for split in ('train', 'val', 'test'):
        (objects / f'ImageSets/Main/{split}.txt').write_text('0\n1\n2\n')
    return root


def test_from_photos_to_predictions(tmp_path, monkeypatch, capsys):
    """The page's commands in their order, on nine pictures, two steps and a small input."""
    monkeypatch.chdir(tmp_path)
    write_photos(Path('photos'))
    small = ['input_side=64', 'batch_size=4', 'stages=[{name: joint, steps: 2}]',
             'resolutions=[{start: 0, side: 64}]']
    assert train.main([str(RECIPE), '--data', 'photos', '--workers', '0', '--device', 'cpu',
                       *(word for change in small for word in ('--set', change))]) == 0
    run = Path('runs/own_pictures')
    assert {path.name for path in run.iterdir()} == {
        'report.md', 'loss_curve.png', 'eval_metrics.png', 'metrics.jsonl', 'state.pt'}
    report = (run / 'report.md').read_text(encoding='utf-8')
    assert 'Finished: step 2 of 2' in report and 'from the weights `household`' in report
    for picture in re.findall(r'!\[.*\]\((.*)\)', report):
        assert (run / picture).is_file()
    assert export.main(['runs/own_pictures']) == 0
    assert train.main([str(RECIPE), '--data', 'photos', '--workers', '0', '--device', 'cpu']) == 2
    assert capsys.readouterr().err.splitlines()[-1] in ERRORS
    card = load_checkpoint('weights/own_pictures').card
    assert card.classes.detection == ('mug', 'bottle', 'bowl')
    assert evaluate.main(['weights/own_pictures', '--data', 'photos/objects', '--resamples', '0',
                          '--report', 'seen']) == 0
    assert any(Path('seen').iterdir())
    assert predict.main(['photos/objects/JPEGImages', '--checkpoint', 'weights/own_pictures',
                         '--out', 'predictions']) == 0
    assert any(Path('predictions').iterdir())


def test_the_errors_of_the_page_are_what_is_printed(tmp_path, monkeypatch, capsys):
    """Word for word."""
    monkeypatch.chdir(tmp_path)
    photos = write_photos(Path('photos'))
    sources = '[{format: folders, path: places/train, share: 0}]'
    (photos / 'places/train/hall').mkdir()
    for changes in ([], ['--set', f'sources={sources}']):
        assert train.main([str(RECIPE), '--data', 'photos', '--workers', '0', '--device', 'cpu',
                           *changes]) == 2
        assert capsys.readouterr().err.splitlines()[-1] in ERRORS


def test_masks_in_colour_become_ids(tmp_path):
    """The page's program, on an export as CVAT writes it."""
    (tmp_path / 'SegmentationClass').mkdir()
    (tmp_path / 'labelmap.txt').write_text(
        '# label:color_rgb:parts:actions\nbackground:0,0,0::\nbowl:0,128,0::\nmug:128,0,0::\n'
        'rack:0,0,128::\n\n')
    colours = np.array([[(0, 0, 0), (128, 0, 0), (0, 128, 0), (0, 0, 128)]], np.uint8)
    Image.fromarray(colours).save(tmp_path / 'SegmentationClass' / 'a.png')
    program, = blocks('python')
    subprocess.run([sys.executable, '-c', program, str(tmp_path), 'mug', 'bowl'], check=True)
    with Image.open(tmp_path / 'SegmentationClass' / 'a.png') as file:
        assert np.array(file).tolist() == [[0, 1, 2, 255]]
