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
"""
Run the study of docs/STUDY.md: every arm, network and seed, and write the page's tables.

Stopped at any time, the same command goes on: finished runs are kept, others go on from the last
stage that they finished. docs/study.json holds the numbers; tables and picture are made of it.
"""

import argparse
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shlex
import sys
import time
from typing import Any, Dict, Iterable, List, Sequence, Tuple

from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.errors import PerceptionError
from mtl_perception.recipe import load_recipe, Recipe, recipe_to_json, TASKS
from mtl_perception.ros.child import Child
import study_page

ROOT = Path(__file__).resolve().parent.parent
RECIPES = Path('config/train/study')
NUMBERS, PAGE, PICTURE = 'study.json', 'STUDY.md', 'study.png'
SEEDS = (11, 12, 13)
"""
Not the seed that the trunk was once learnt with: a fresh linear layer of that seed fits its
features from the start (top-1 0.71 before the first step).
"""
SINGLE = 'single_{}'
# The report's network sees one cell for 32x32 pixels: at 160 pixels it finds next to nothing.
NEEDED = {'unified': (), 'report': (
    'input_side=224', 'resolutions=[{start: 0.0, side: 224, zoom: [0.75, 1.0]}]')}
DISTILLED = 'joint_distilled'
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class Row:
    """
    One run of the study.

    :param arm: a recipe in config/train/study/
    :param network: a key of ``mtl_perception.network.NETWORKS``
    :param seed: of weights, order and augmentation
    """

    arm: str
    network: str
    seed: int

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f'{self.network}-{self.arm}-{self.seed}'


def matrix() -> List[Row]:
    """Return all rows, those that say most first."""
    singles = [SINGLE.format(task) for task in ('segmentation', 'detection', 'classification')]
    first, *others = SEEDS
    rows = [Row(arm, network, first) for network in ('unified', 'report') for arm in singles]
    rows += [Row(arm, network, first) for arm in ('staged_naive', 'staged_all', 'joint')
             for network in ('unified', 'report')]
    rows += [Row(arm, 'unified', first) for arm in (
        'joint_long', 'staged_frozen_norm', 'staged_replay', 'staged_distilled',
        'staged_naive_reversed', 'staged_all_reversed', DISTILLED)]
    for seed in others:
        rows += [Row(arm, 'unified', seed)
                 for arm in (*singles, 'staged_naive', 'staged_all', 'joint', 'joint_long')]
        rows += [Row(arm, 'report', seed) for arm in (singles[0], 'staged_naive')]
    return rows


@dataclass(frozen=True)
class Study:
    """
    Where the study's runs are, and what they are.

    :param data: root of the rendered splits
    :param runs: folder of the runs
    :param docs: folder of the page, its numbers and its picture
    :param steps: of every stage; 0 for what the recipes say
    """

    data: Path
    runs: Path
    docs: Path
    steps: int = 0

    def folder(self, row: Row) -> Path:
        """Return the folder of a run."""
        return self.runs / row.name

    def weights(self, row: Row) -> Path:
        """Return the folder that a run's weights are exported to."""
        return self.runs / 'weights' / row.name

    def teachers(self, row: Row) -> Dict[str, Row]:
        """Return the runs that a row learns from, by task."""
        return {task: Row(SINGLE.format(task), row.network, row.seed) for task in TASKS
                if row.arm == DISTILLED}

    def changes(self, row: Row) -> List[str]:
        """Return what a row changes in its arm's recipe, as ``train --set`` takes it."""
        changes = [f'network={row.network}', f'seed={row.seed}', *NEEDED[row.network]]
        teachers = {task: str(self.weights(teacher))
                    for task, teacher in self.teachers(row).items()}
        if teachers:
            changes.append(f'teachers={json.dumps(teachers)}')
        if self.steps:
            stages = recipe_to_json(load_recipe(self.recipe_file(row)))['stages']
            changes.append('stages=' + json.dumps(
                [{**stage, 'steps': self.steps} for stage in stages]))
        return changes

    def recipe_file(self, row: Row) -> Path:
        """Return the recipe of a row's arm."""
        return ROOT / RECIPES / f'{row.arm}.yaml'

    def recipe(self, row: Row) -> Recipe:
        """Return what a row does."""
        return load_recipe(self.recipe_file(row), self.changes(row))

    def beginning(self, row: Row) -> Tuple[Row, ...]:
        """
        Return the single-task run that is the first stage of a staged row, if it is one.

        Both take the same steps on the same pictures from the same weights.
        """
        stages = self.recipe(row).stages
        return () if len(stages) == 1 else (
            Row(SINGLE.format(stages[0].tasks[0]), row.network, row.seed),)

    def needs(self, row: Row) -> Tuple[Row, ...]:
        """Return the runs that must have ended before this one."""
        return (*self.beginning(row), *self.teachers(row).values())

    def command(self, row: Row) -> List[str]:
        """Return the arguments of ``train`` for a row."""
        settings = [part for change in self.changes(row) for part in ('--set', change)]
        return [str(RECIPES / f'{row.arm}.yaml'), '--data', str(self.data),
                '--output', str(self.folder(row)), '--threads', '1', '--workers', '0', *settings]


def with_needs(study: Study, rows: Iterable[Row]) -> List[Row]:
    """Return the rows, each after the runs that it needs."""
    ordered: Dict[Row, None] = {}
    for row in rows:
        ordered.update(dict.fromkeys((*study.needs(row), row)))
    return list(ordered)


def command_lines(study: Study, rows: Sequence[Row]) -> List[str]:
    """Return what a person types for each row, in order."""
    lines = []
    for row in rows:
        lines += [shlex.join(['export', str(study.folder(teacher)), '--output',
                              str(study.weights(teacher))])
                  for teacher in study.teachers(row).values()]
        lines.append(shlex.join(['train', *study.command(row)]))
    return lines


def is_finished(study: Study, row: Row) -> bool:
    """Tell whether the run has ended, with the recipe as it is now."""
    from mtl_perception.run_folder import RunFolder
    run = RunFolder(study.folder(row))
    if not run.state.is_file():
        return False
    state, recipe = run.read_state(), study.recipe(row)
    return state['recipe'] == recipe_to_json(recipe) and state['step'] == recipe.steps


def take_over(study: Study, row: Row) -> None:
    """Let a staged run that has not begun go on from the single-task run of its first stage."""
    from mtl_perception.run_folder import RunFolder
    run = RunFolder(study.folder(row))
    for beginning in study.beginning(row):
        if not run.state.is_file():
            given = RunFolder(study.folder(beginning))
            run.path.mkdir(parents=True, exist_ok=True)
            run.write_log(given.read_log())
            run.write_state({**given.read_state(), 'recipe': recipe_to_json(study.recipe(row))})


def export_teachers(study: Study, row: Row) -> None:
    """Export the runs that a row learns from."""
    from mtl_perception.training import export_run
    for teacher in study.teachers(row).values():
        export_run(study.folder(teacher), study.weights(teacher))


def result(study: Study, row: Row) -> Dict[str, Any]:
    """Return the figures of a finished run, for study.json."""
    from mtl_perception.run_folder import RunFolder
    from mtl_perception.run_report import FIGURES, stage_ends, training_minutes
    entries = RunFolder(study.folder(row)).read_log()
    figures = [name for names in FIGURES.values() for name in names]
    return {
        'arm': row.arm, 'network': row.network, 'seed': row.seed,
        'steps': study.recipe(row).steps,
        'minutes': round(training_minutes(entries, study.recipe(row).batch_size), 1),
        'stages': [{'stage': entry['stage'], 'step': entry['step'],
                    **{name: round(entry[name], 4) for name in figures}}
                   for entry in stage_ends(entries)]}


def protocol(study: Study) -> Dict[str, Any]:
    """Return what all runs have in common, and what guessing would reach."""
    from mtl_perception.data.datasets import open_source
    from mtl_perception.metrics import confusion_matrix, mean_iou
    from mtl_perception.training import card_of
    import numpy as np
    import torch
    recipe = study.recipe(Row(SINGLE.format('segmentation'), 'unified', SEEDS[0]))
    classes = card_of(recipe).classes
    shown = open_source(recipe.validation, study.data, classes)
    confusion = sum(confusion_matrix(sample.mask, np.zeros_like(sample.mask),
                                     len(classes.segmentation)) for sample in shown)
    return {
        'steps': recipe.steps, 'batch_size': recipe.batch_size, 'side': recipe.input_side,
        'frames': len(open_source(recipe.sources[0], study.data, classes)),
        'test_frames': len(shown), 'torch': torch.__version__, 'cores': os.cpu_count(),
        'chance': {'map50': 0.0, 'miou': round(float(mean_iou(confusion)), 4),
                   'top1': round(1 / len(classes.classification), 4)}}


def write_results(study: Study, finished: Iterable[Row]) -> None:
    """Write study.json, and the page's tables and picture from it."""
    rows = [row for row in matrix() if row in finished]
    document = {'protocol': protocol(study), 'runs': [result(study, row) for row in rows]}
    page = study.docs / PAGE
    page.write_text(study_page.fill(page.read_text(), document))
    (study.docs / NUMBERS).write_text(json.dumps(document, indent=1) + '\n')
    study_page.draw(document, study.docs / PICTURE)


class Progress:
    """
    A bar over the steps of all rows.

    :param study: of the rows
    :param rows: to be run
    :param finished: of these, before
    """

    def __init__(self, study: Study, rows: Sequence[Row], finished: Iterable[Row]):
        from tqdm import tqdm
        self._study, self._rows, self._finished = study, rows, set(finished)
        recipes = {row: study.recipe(row) for row in rows}
        self._free = {row: recipes[row].stages[0].steps if study.beginning(row) else 0
                      for row in rows}
        self._steps = {row: recipes[row].steps - self._free[row] for row in rows}
        self._bar = tqdm(total=sum(self._steps.values()), initial=self._taken(()), unit='step',
                         desc=self._title(), mininterval=SECONDS_BETWEEN_LINES)

    def _title(self) -> str:
        return f'{len(self._finished)} of {len(self._rows)} runs'

    def _taken(self, running: Iterable[Row]) -> int:
        from mtl_perception.run_folder import RunFolder
        steps = sum(self._steps[row] for row in self._finished)
        for row in running:
            entries = RunFolder(self._study.folder(row)).read_log()
            steps += max(0, entries[-1]['step'] - self._free[row]) if entries else 0
        return steps

    def look(self, running: Iterable[Row]) -> None:
        """Move the bar to where the runs are."""
        self._bar.update(self._taken(running) - self._bar.n)

    def end(self, row: Row) -> None:
        """Say how a row ended."""
        self._finished.add(row)
        self._bar.set_description(self._title())
        last = result(self._study, row)
        self._bar.write(f'{row.name}: ' + ', '.join(
            f'{title} {last["stages"][-1][name]:.3f}'
            for name, title in study_page.FIGURES.items()) + f' ({last["minutes"]} min)')

    def fail(self, row: Row, words: str) -> None:
        """Say why a row failed."""
        self._bar.write(f'{row.name} failed:\n{words}')

    def close(self) -> None:
        """Leave the bar."""
        self._bar.close()


def run_rows(study: Study, rows: Sequence[Row], jobs: int) -> None:
    """
    Run all rows that have not ended, and before each what it needs.

    :param study: of the rows
    :param rows: in the order of their importance
    :param jobs: runs at a time; each takes one core
    :raises PerceptionError: if a row fails, once all the others that can run have ended
    """
    study.runs.mkdir(parents=True, exist_ok=True)
    rows = with_needs(study, rows)
    finished = {row for row in matrix() if is_finished(study, row)}
    write_results(study, finished)
    waiting = [row for row in rows if row not in finished]
    running: Dict[Row, Child] = {}
    failed = []
    progress = Progress(study, rows, finished.intersection(rows))
    try:
        while waiting or running:
            ready = [row for row in waiting if finished.issuperset(study.needs(row))]
            for row in ready[:max(0, jobs - len(running))]:
                waiting.remove(row)
                take_over(study, row)
                export_teachers(study, row)
                running[row] = Child('mtl_perception.cli.train', study.command(row),
                                     study.runs / f'{row.name}.log')
                running[row].start()
            if not running:
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
            progress.look(running)
            ended = [row for row, child in running.items() if child.status is not None]
            for row in ended:
                child = running.pop(row)
                if child.status == 0:
                    finished.add(row)
                    progress.end(row)
                    write_results(study, finished)
                else:
                    failed.append(row)
                    progress.fail(row, child.last_lines())
    finally:
        for child in running.values():
            child.end()
        progress.close()
    if failed:
        raise PerceptionError(f'{len(failed)} runs failed and {len(waiting)} more wait for them; '
                              f'see {study.runs}/*.log, then run this again')


def _study(arguments: argparse.Namespace) -> None:
    import torch
    torch.set_num_threads(1)  # what is done here is beside the runs
    os.chdir(ROOT)
    study = Study(arguments.data, arguments.runs, arguments.docs, arguments.steps)
    rows = [row for row in matrix() if not arguments.only or row.arm in arguments.only]
    if arguments.list:
        print('\n'.join(command_lines(study, with_needs(study, rows))))
    else:
        run_rows(study, rows, arguments.jobs)


def main(argv=None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog='study.py', description=__doc__,
                                     formatter_class=HelpFormatter)
    parser.add_argument('--data', type=Path, default=Path('datasets/study'),
                        help='where the splits study and study_test were rendered')
    parser.add_argument('--runs', type=Path, default=Path('runs/study'),
                        help='folder of the runs')
    parser.add_argument('--docs', type=Path, default=Path('docs'),
                        help='folder of STUDY.md, study.json and study.png')
    parser.add_argument('--only', action='append', metavar='ARM',
                        choices=sorted({row.arm for row in matrix()}),
                        help='only this arm and what it needs; may be repeated')
    parser.add_argument('--steps', type=int, default=0,
                        help='of every stage; 0 for what the recipes say')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(),
                        help='runs at a time, one core each')
    parser.add_argument('--list', action='store_true',
                        help='print the command of each run, and run none')
    return run_command(_study, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
