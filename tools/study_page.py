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
"""What docs/STUDY.md shows, made of the numbers in docs/study.json."""

from pathlib import Path
from statistics import mean, stdev
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from mtl_perception.markdown import markdown_table
from mtl_perception.recipe import load_recipe, TASKS
from mtl_perception.run_report import forgetting
from page_places import fill_places

RECIPES = Path(__file__).resolve().parent.parent / 'config' / 'train' / 'study'
FIGURES = {'map50': 'mAP50', 'miou': 'mIoU', 'top1': 'top-1'}
FIGURE_OF = dict(zip(TASKS, FIGURES))
NETWORKS = {'unified': 'The unified network', 'report': "The report's network"}
SINGLES = {task: f'single_{task}' for task in TASKS}
TITLES = {
    'joint': 'joint, the steps of one task',
    'joint_long': 'joint, the steps of three tasks',
    'joint_distilled': 'joint, the steps of one task, distilled from the three networks',
    'staged_naive': 'staged, naive',
    'staged_frozen_norm': 'staged, batch norm frozen',
    'staged_replay': 'staged, replay',
    'staged_distilled': 'staged, distillation (LwF)',
    'staged_all': 'staged, replay and distillation',
    'staged_naive_reversed': 'staged in reverse, naive',
    'staged_all_reversed': 'staged in reverse, replay and distillation',
}
NONE = '–'

Document = Mapping[str, Any]
Run = Mapping[str, Any]


def of_arm(document: Document, network: str, arm: str) -> List[Run]:
    """Return the runs of an arm, one a seed."""
    return [run for run in document['runs'] if (run['network'], run['arm']) == (network, arm)]


def baselines(document: Document, network: str) -> Dict[str, float]:
    """Return the mean figure of the single-task networks, for the tasks that have runs."""
    runs = {task: of_arm(document, network, arm) for task, arm in SINGLES.items()}
    return {FIGURE_OF[task]: mean(run['stages'][-1][FIGURE_OF[task]] for run in found)
            for task, found in runs.items() if found}


def delta_m(figures: Mapping[str, float], single: Mapping[str, float]) -> float:
    """Return the mean relative change of the figures against single-task networks'."""
    return mean((figures[name] - single[name]) / single[name] for name in FIGURES)


def lost(run: Run) -> List[float]:
    """Return how much of each task but the last was forgotten, in the order of its stages."""
    recipe = load_recipe(RECIPES / f'{run["arm"]}.yaml')
    by_figure = forgetting(recipe, run['stages'])
    tasks = [stage.tasks[0] for stage in recipe.stages[:-1]]
    return [by_figure[FIGURE_OF[task]] for task in tasks]


def spread(values: Sequence[float], show: Callable[[float], str] = '{:.3f}'.format) -> str:
    """Return the mean, with the standard deviation where there are several values."""
    text = show(mean(values)) if values else NONE
    return f'{text} ± {show(stdev(values))}' if len(values) > 1 else text


def percent(value: float) -> str:
    """Return a fraction in percent, without the sign."""
    return f'{100 * value:.1f}'


def _single_row(document: Document, network: str) -> Optional[List[str]]:
    runs = {FIGURE_OF[task]: of_arm(document, network, arm) for task, arm in SINGLES.items()}
    if not any(runs.values()):
        return None
    values = {name: [run['stages'][-1][name] for run in found] for name, found in runs.items()}
    counts = '/'.join(dict.fromkeys(str(len(found)) for found in runs.values()))
    return ['three networks of one task', counts, f'3 x {document["protocol"]["steps"]}',
            *(spread(values[name]) for name in FIGURES), NONE, NONE, percent(0.0)]


def _arm_row(document: Document, network: str, arm: str) -> Optional[List[str]]:
    runs = of_arm(document, network, arm)
    if not runs:
        return None
    ends = [run['stages'][-1] for run in runs]
    single = baselines(document, network)
    changes = [delta_m(end, single) for end in ends] if len(single) == len(FIGURES) else []
    forgotten = [spread(values, percent) for values in zip(*map(lost, runs))] or [NONE, NONE]
    return [TITLES[arm], str(len(runs)), str(runs[0]['steps']),
            *(spread([end[name] for end in ends]) for name in FIGURES),
            *forgotten, spread(changes, percent)]


def headline(document: Document) -> str:
    """Return what every arm of every network ended with."""
    parts = []
    for network, title in NETWORKS.items():
        rows = [_single_row(document, network),
                *(_arm_row(document, network, arm) for arm in TITLES)]
        parts.append(f'**{title}**\n\n' + markdown_table(
            [['arm', 'seeds', 'steps', *FIGURES.values(), 'F of the first task, %',
              'F of the second task, %', 'Δm, %'], *filter(None, rows)]))
    chance = document['protocol']['chance']
    parts.append('Guessing: ' + ', '.join(
        f'{title} {chance[name]:.3f}' for name, title in FIGURES.items())
        + ' (no box; all background; one place of all).')
    return '\n\n'.join(parts)


def stages(document: Document) -> str:
    """Return the figures after each stage of the staged arms; none before a task is learnt."""
    parts = []
    for network, title in NETWORKS.items():
        rows = []
        for arm in (arm for arm in TITLES if arm.startswith('staged')):
            runs = of_arm(document, network, arm)
            learnt = set()
            for number, stage in enumerate(load_recipe(RECIPES / f'{arm}.yaml').stages):
                learnt.update(FIGURE_OF[task] for task in stage.tasks)
                ends = [run['stages'][number] for run in runs]
                rows += [[TITLES[arm], f'{number + 1}, {stage.name}', *(
                    spread([end[name] for end in ends]) if name in learnt else NONE
                    for name in FIGURES)]] if runs else []
        parts.append(f'**{title}**\n\n' + markdown_table(
            [['arm', 'after stage', *FIGURES.values()], *rows], 2))
    return '\n\n'.join(parts)


def runs(document: Document) -> str:
    """Return one line a run."""
    return markdown_table([
        ['network', 'arm', 'seed', 'steps', 'minutes', *FIGURES.values()],
        *([run['network'], run['arm'], str(run['seed']), str(run['steps']),
           f'{run["minutes"]:.1f}', *(f'{run["stages"][-1][name]:.3f}' for name in FIGURES)]
          for run in document['runs'])], 2)


def budget(document: Document) -> str:
    """Return what a stage is."""
    common = document['protocol']
    pictures = common['steps'] * common['batch_size']
    return (f'One stage is {common["steps"]} steps of {common["batch_size"]} pictures, '
            f'{pictures:,} in all, each of the {common["frames"]:,} frames '
            f'{pictures / common["frames"]:.1f} times.')


TABLES = {'budget': budget, 'headline': headline, 'stages': stages, 'runs': runs}


def fill(page: str, document: Document) -> str:
    """
    Return the page with its tables made anew.

    :param page: with a place ``<!-- name -->`` ... ``<!-- end name -->`` for each of ``TABLES``
    :param document: of study.json
    :raises ValueError: if the page lacks a place
    """
    return fill_places(page, {name: make(document) for name, make in TABLES.items()})


LINES = {
    'staged_naive': ('tab:red', 'o'), 'staged_frozen_norm': ('tab:orange', 's'),
    'staged_replay': ('tab:blue', '^'), 'staged_distilled': ('tab:purple', 'v'),
    'staged_all': ('tab:green', 'D'),
}
ORDER = ('segmentation', 'detection', 'classification')


def _draw_task(panel, document: Document, network: str, task: str) -> None:
    name, first = FIGURE_OF[task], ORDER.index(task)
    for number, (arm, (colour, marker)) in enumerate(LINES.items()):
        found = [[stage[name] for stage in run['stages'][first:]]
                 for run in of_arm(document, network, arm)]
        # Beside each other, so that equal ones are all seen.
        places = [place + 0.06 * (number - 2) for place in range(first, len(ORDER))]
        for values in found:
            panel.plot(places, values, color=colour, alpha=0.35, linewidth=0.8)
        if found:
            panel.plot(places, [mean(values) for values in zip(*found)], color=colour,
                       marker=marker, linewidth=2, label=TITLES[arm])
    joint = [run['stages'][-1][name] for run in of_arm(document, network, 'joint')]
    if joint:
        panel.plot(len(ORDER), mean(joint), '*', color='black', markersize=10,
                   label=TITLES['joint'])
    single = baselines(document, network)
    if name in single:
        panel.axhline(single[name], color='black', linestyle='--', linewidth=1,
                      label='network of this task alone')
    panel.axhline(document['protocol']['chance'][name], color='grey', linestyle=':', linewidth=1,
                  label='guessing')
    panel.set_ylim(0, 1)
    panel.set_xticks(range(len(ORDER) + 1), [*(f'after\n{stage}' for stage in ORDER), 'joint'],
                     fontsize=8)
    panel.grid(alpha=0.3)


def draw(document: Document, path: Path) -> None:
    """
    Draw each task's figure after each stage, one line an arm, seeds as thin lines.

    :param document: of study.json
    :param path: PNG
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(11, 6.4), dpi=100)
    panels = figure.subplots(len(NETWORKS), len(ORDER), sharex=True)
    for row, (network, title) in zip(panels, NETWORKS.items()):
        for panel, task in zip(row, ORDER):
            _draw_task(panel, document, network, task)
            panel.set_title(f'{title}: {FIGURES[FIGURE_OF[task]]} of {task}', fontsize=9)
    handles = {}
    for panel in panels.flat:
        for handle, label in zip(*panel.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.legend(handles.values(), handles.keys(), loc='lower center', ncols=4, fontsize=9)
    FigureCanvasAgg(figure).print_png(str(path))
