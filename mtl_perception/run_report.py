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
"""The page that says how a training run went."""

import math
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Mapping, Sequence

from mtl_perception.data.datasets import tasks_of
from mtl_perception.data.voc_writer import write_atomically
from mtl_perception.markdown import markdown_table
from mtl_perception.recipe import Recipe, recipe_to_json, Stage
import yaml

REPORT = 'report.md'
TITLES = {'map50_95': 'mAP50-95', 'map50': 'mAP50', 'miou': 'mIoU', 'top1': 'top-1'}
FIGURES = {'detection': ('map50_95', 'map50'), 'segmentation': ('miou',),
           'classification': ('top1',)}
"""The figures that measure each task."""

Entry = Mapping[str, Any]


def training_minutes(entries: Sequence[Entry], batch_size: int) -> float:
    """
    Return how long a run took, validations included and time that it did not run left out.

    :param entries: of its log
    :param batch_size: pictures a step
    """
    seconds, step = 0.0, 0
    for entry in entries:
        if entry['kind'] == 'train':
            seconds += (entry['step'] - step) * batch_size / entry['images_per_second']
            step = entry['step']
    return seconds / 60


def _figure(entry: Entry, name: str) -> float:
    """Return a figure, nan where the validation split lacks the label."""
    value = entry.get(name)
    return math.nan if value is None else value


def stage_ends(entries: Sequence[Entry]) -> List[Entry]:
    """Return the validation at the end of each stage that has ended, in order."""
    return [entry for entry in entries if entry['kind'] == 'validation' and entry['ends_stage']]


def forgetting(recipe: Recipe, ends: Sequence[Entry]) -> Dict[str, float]:
    """
    Return F = (best - last) / best of each figure of a task that only earlier stages learnt.

    Best is the largest at the end of an earlier stage, from the first that learnt the task on;
    last is at the end of the last stage that has ended. 0 forgets nothing, 1 everything, and below
    0 the task got better.

    :param recipe: of the run
    :param ends: from :func:`stage_ends`
    """
    lost = {}
    for task in recipe.earlier_tasks(len(ends) - 1) if ends else ():
        first = next(number for number, stage in enumerate(recipe.stages) if task in stage.tasks)
        for figure in FIGURES[task]:
            best = max(_figure(entry, figure) for entry in ends[first:-1])
            lost[figure] = (best - _figure(ends[-1], figure)) / best if best > 0 else math.nan
    return lost


def _number(value: float) -> str:
    return '-' if math.isnan(value) else f'{value:.3f}'


def _cells(figures: Mapping[str, Any]) -> List[str]:
    return [_number(_figure(figures, name)) for name in TITLES]


def _table(rows: Sequence[Sequence[str]], text_columns: int) -> List[str]:
    return ['', markdown_table(rows, text_columns), '']


def _listed(tasks: Sequence[str]) -> str:
    return ', '.join(tasks)


def _progress(recipe: Recipe, entries: Sequence[Entry]) -> str:
    step = max((entry['step'] for entry in entries), default=0)
    speeds = [entry['images_per_second'] for entry in entries if entry['kind'] == 'train']
    state = 'Finished' if step == recipe.steps else 'Running, or stopped'
    speed = f', {median(speeds):.1f} images/s (median)' if speeds else ''
    return (f'{state}: step {step} of {recipe.steps}, {step * recipe.batch_size} images seen in '
            f'{training_minutes(entries, recipe.batch_size):.1f} minutes{speed}.')


def _start(recipe: Recipe) -> str:
    trunk = f'the trunk of `{recipe.trunk}`' if recipe.trunk else ''
    weights = f'the weights `{recipe.start_from}`' if recipe.start_from else ''
    return ' and '.join(filter(None, (weights, trunk))) or 'random weights'


def _protection(stage: Stage) -> str:
    """Return what keeps the tasks that were learnt before."""
    return ', '.join(text for text, is_used in (
        ('norms frozen', stage.freeze_norm),
        (f'replay {stage.replay:g} of each batch from {stage.replay_frames} frames a source',
         stage.replay > 0),
        (f'distillation {stage.distillation:g}', stage.distillation > 0)) if is_used) or '-'


def _subject(recipe: Recipe) -> List[str]:
    sides = _listed([str(resolution.side) for resolution in recipe.resolutions])
    sources = [(source.format, f'`{source.path}`', source.split if source.format == 'voc' else '-',
                _listed(tasks_of(source)), f'{source.share:g}', str(source.frames or 'all'))
               for source in recipe.sources]
    stages = [(stage.name, str(stage.steps), _listed(stage.tasks), _protection(stage))
              for stage in recipe.stages]
    teachers = [f' The teacher of {task} is `{path}`.' for task, path in recipe.teachers.items()]
    return ['## What is trained', '',
            f'Network `{recipe.network}` from {_start(recipe)}, seed {recipe.seed}; batches of '
            f'{recipe.batch_size} at {sides} pixels, {recipe.input_side} when exported.'
            + ''.join(teachers),
            *_table([('source', 'path', 'split', 'learnt', 'share', 'frames'), *sources], 4)[:-1],
            *_table([('stage', 'steps', 'learns', 'what keeps the rest'), *stages], 4)]


def _figures(entries: Sequence[Entry]) -> List[str]:
    validations = [entry for entry in entries if entry['kind'] == 'validation']
    if not validations:
        return []
    last = validations[-1]
    return [f'## Figures on the validation split at step {last["step"]}',
            *_table([('figure', 'value'), *zip(TITLES.values(), _cells(last))], 1),
            '![Figures over the steps](eval_metrics.png)', '']


def _matrix(recipe: Recipe, entries: Sequence[Entry]) -> List[str]:
    ends = stage_ends(entries)
    if len(recipe.stages) == 1 or not ends:
        return []
    rows = [(entry['stage'], _listed(stage.tasks), *_cells(entry))
            for stage, entry in zip(recipe.stages, ends)]
    rows.append(('forgetting', '', *_cells(forgetting(recipe, ends))))
    return ['## What each stage left', '',
            'Forgetting is (best - last) / best of the tasks that only earlier stages learnt: '
            '0 is nothing, 1 all.',
            *_table([('after stage', 'it learnt', *TITLES.values()), *rows], 2)]


def _losses(entries: Sequence[Entry]) -> List[str]:
    trained = [entry for entry in entries if entry['kind'] == 'train']
    if not trained:
        return []
    rows = [(name, _number(value)) for name, value in trained[-1].items()
            if name not in ('step', 'kind', 'images_per_second')]
    return [f'## Losses at step {trained[-1]["step"]}, weighted',
            *_table([('loss', 'mean'), *rows], 1), '![Losses over the steps](loss_curve.png)', '']


def write_run_report(recipe: Recipe, entries: Sequence[Entry], folder: Path) -> None:
    """
    Write ``report.md``, whole or not at all; the two pictures that it shows lie beside it.

    :param recipe: of the run
    :param entries: of its log
    :param folder: of the run
    """
    document = yaml.safe_dump(recipe_to_json(recipe), sort_keys=False, allow_unicode=True,
                              default_flow_style=None, width=95)
    lines = [f'# Training run: {recipe.name}', '', _progress(recipe, entries), '',
             *_subject(recipe), *_figures(entries), *_matrix(recipe, entries), *_losses(entries),
             '## Recipe', '', 'Saved as a YAML file, `train` repeats the run from it.', '',
             '```yaml', document.rstrip('\n'), '```', '']
    write_atomically(Path(folder) / REPORT, '\n'.join(lines).encode())
