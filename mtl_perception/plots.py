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
"""Pictures of a training run's log."""

from pathlib import Path
from typing import Any, Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LOSSES = ('total', 'box', 'quality', 'detection', 'segmentation', 'dice', 'classification')
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
