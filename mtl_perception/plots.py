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
"""Diagrams: of a training run's log, and of what an evaluation found."""

from pathlib import Path
from typing import Any, Mapping, Sequence, Tuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np

LOSSES = ('total', 'box', 'quality', 'detection', 'segmentation', 'dice', 'classification',
          'distillation')
FIGURES = ('map50_95', 'map50', 'miou', 'top1')


def _plot(entries: Sequence[Mapping[str, Any]], names: Sequence[str], label: str,
          path: Path) -> None:
    figure = Figure(figsize=(8, 5), dpi=100)
    axes = figure.add_subplot()
    steps = [entry['step'] for entry in entries]
    for name in names:
        axes.plot(steps, [entry[name] for entry in entries], label=name)
    axes.set_xlabel('step')
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    FigureCanvasAgg(figure).print_png(str(path))


def plot_run(entries: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """
    Draw ``loss_curve.png`` and ``eval_metrics.png``.

    :param entries: of the run's log
    :param folder: where to
    """
    for kind, names, label, file_name in (
            ('train', LOSSES, 'weighted loss', 'loss_curve.png'),
            ('validation', FIGURES, 'figure on the validation split', 'eval_metrics.png')):
        _plot([entry for entry in entries if entry['kind'] == kind], names, label,
              folder / file_name)


MAX_ANNOTATED = 40
"""Of more classes the cells, and in a legend the lines, are too many to be named one by one."""


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_figure(str(path), bbox_inches='tight')


def plot_confusion(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str,
                   path: Path) -> None:
    """
    Draw a confusion matrix, each row as shares of its sum.

    :param matrix: counts ``[R, C]``; a row of zeros stays empty
    :param rows: names of the true classes
    :param columns: names of the answers
    :param title: above it
    :param path: of the picture
    """
    totals = matrix.sum(axis=1, keepdims=True)
    percent = 100.0 * np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    annotated = len(rows) <= MAX_ANNOTATED
    side = 0.3 if annotated else 12.0 / len(rows)
    figure = Figure(figsize=(side * len(columns) + 3.0, side * len(rows) + 2.5), dpi=110)
    axes = figure.add_subplot()
    image = axes.imshow(percent, cmap='Blues', vmin=0.0, vmax=100.0)
    axes.set_title(title)
    axes.set_xlabel('answer')
    axes.set_ylabel('truth')
    if annotated:
        axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        for row, column in zip(*np.nonzero(percent >= 0.5)):
            axes.text(column, row, f'{percent[row, column]:.0f}', ha='center', va='center',
                      fontsize=6.5, color='white' if percent[row, column] > 55 else 'black')
    figure.colorbar(image, ax=axes, label='% of the row', fraction=0.03, pad=0.02)
    _save(figure, path)


def plot_precision_recall(curves: np.ndarray, names: Sequence[str],
                          colors: Sequence[Tuple[float, float, float]], path: Path) -> None:
    """
    Draw the precision-recall curve of each class, thin, and their mean.

    :param curves: precision ``[101, D]`` at recall 0, 0.01 ... 1; nan for a class without objects
    :param names: of the classes
    :param colors: of the classes; R, G, B, 0 to 1
    :param path: of the picture
    """
    figure = Figure(figsize=(9, 6), dpi=110)
    axes = figure.add_subplot()
    recall = np.linspace(0.0, 1.0, len(curves))
    known = np.isfinite(curves).all(axis=0)
    means = np.where(known, np.nan_to_num(curves).mean(axis=0), -1.0)
    if known.any():
        axes.plot(recall, curves[:, known].mean(axis=1), color='black', linewidth=3, zorder=3,
                  label=f'{means[known].mean():.2f} mean')
    for index in np.argsort(-means, kind='stable')[:known.sum()]:
        axes.plot(recall, curves[:, index], color=colors[index], linewidth=1.1,
                  label=f'{means[index]:.2f} {names[index]}')
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel='recall', ylabel='precision',
             title='Precision over recall at IoU 0.50')
    axes.grid(alpha=0.3)
    if known.any() and len(names) <= MAX_ANNOTATED:
        axes.legend(title='AP 50', loc='upper left', bbox_to_anchor=(1.01, 1.0), fontsize=8,
                    ncol=1 + len(names) // 26)
    _save(figure, path)


def plot_bars(values: Mapping[str, Sequence[float]], groups: Sequence[str], title: str,
              path: Path, intervals: Mapping[str, Sequence[Tuple[float, float]]]) -> None:
    """
    Draw groups of bars from 0 to 1.

    :param values: of each group, by the bars' label; nan where there is none
    :param groups: names
    :param title: above them
    :param path: of the picture
    :param intervals: low and high end of each group, for the labels that have such
    """
    figure = Figure(figsize=(7, 4.5), dpi=110)
    axes = figure.add_subplot()
    width = 0.8 / len(values)
    for number, (label, heights) in enumerate(values.items()):
        places = np.arange(len(groups)) + (number - (len(values) - 1) / 2) * width
        bars = axes.bar(places, np.nan_to_num(heights), width * 0.95, label=label)
        ends = np.array(intervals.get(label, [(np.nan, np.nan)] * len(groups)))
        for place, height, (low, high) in zip(places, heights, ends):
            if np.isfinite([low, high]).all():
                axes.plot([place, place], [low, high], color='black', linewidth=1.2)
        tops = np.nanmax([np.nan_to_num(heights), ends[:, 1]], axis=0)
        for bar, height, top in zip(bars, heights, tops):
            axes.text(bar.get_x() + bar.get_width() / 2, top + 0.015,
                      '-' if np.isnan(height) else f'{height:.2f}', ha='center', fontsize=9)
    axes.set_xticks(range(len(groups)), groups)
    axes.set(ylim=(0, 1.1), title=title)
    axes.grid(axis='y', alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(loc='upper left', bbox_to_anchor=(1.01, 1.0))
    _save(figure, path)
