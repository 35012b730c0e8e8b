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
"""The page of a comparison: one folder that a browser opens without a server."""

from contextlib import contextmanager
import csv
from dataclasses import dataclass
from datetime import datetime
from numbers import Real
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any, Dict, Iterator, List, Optional, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from mtl_perception.checkpoint import ONNX
from mtl_perception.comparison import timeline
from mtl_perception.comparison.difference import CLEAR, MIN_IOU, MIN_SHARE, TASKS
from mtl_perception.comparison.run import Comparison, Row, Side
from mtl_perception.comparison.summary import (
    median_ms, sentences, SIDES, Summary, tiles, TITLES)
from mtl_perception.comparison.truth import Truth
from mtl_perception.comparison.worst import Shown
from mtl_perception.errors import ConfigError
from mtl_perception.overlay import class_color
import numpy as np

PAGE = 'index.html'
TABLE = 'frames.csv'
PICTURES = 'pictures'
KINDS = ('a', 'b', 'labels')


@dataclass(frozen=True)
class Occasion:
    """
    What was compared on what, for people.

    :param title: of the frames
    :param command: that did it
    :param notes: on classes, problems and assumptions
    :param score_threshold: of the boxes
    :param apart_s: least time between two frames that are shown
    """

    title: str
    command: str
    notes: Sequence[str]
    score_threshold: float
    apart_s: float


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """
    Give a folder to fill, which appears under ``path`` when the block ends well, or never.

    :raises ConfigError: if there is something at ``path`` or it cannot be written
    """
    path = Path(os.path.abspath(path))
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f'{path}: expected a new name or an empty folder, got one with '
                          'content; remove it or choose another')
    staging: Optional[Path] = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
        staging.chmod(0o755)
        yield staging
        staging.rename(path)
    except OSError as error:
        raise ConfigError(f'{path}: cannot be written: {error.strerror}') from None
    finally:
        if staging:
            shutil.rmtree(staging, ignore_errors=True)


def _hex(color_id: int) -> str:
    blue, green, red = class_color(color_id)
    return f'#{red:02x}{green:02x}{blue:02x}'


def _side(side: Side, letter: str) -> Dict[str, Any]:
    """Return what the head of the page says about a side."""
    milliseconds = median_ms(side)
    facts = [('a frame takes' if side.checkpoint else 'from picture to answer',
              f'{milliseconds:.1f} ms, median' if milliseconds else 'not recorded')]
    figures: List[Any] = []
    if side.checkpoint:
        card = side.checkpoint.card
        facts = [('input', f'{card.input.width} × {card.input.height}'),
                 ('model.onnx', f'sha256 {card.files[ONNX].sha256[:12]}'), *facts,
                 ('run by', f'{side.engine.engine_name} on {side.engine.device_name}')]
        for split, values in card.metrics.items():
            shown = [values.get(name) if isinstance(values, dict) else None for name in TITLES]
            if any(isinstance(value, Real) for value in shown):
                figures.append((split, [f'{value:.3f}' if isinstance(value, Real) else '–'
                                        for value in shown]))
    return {'letter': letter, 'name': side.name, 'facts': facts, 'figures': figures}


def _when(row: Row, index: int, timed: bool) -> str:
    time = f', {timeline.time_text(row.stamp_ns)}' if timed else ''
    return f'{row.name or f"frame {index}"}{time}'


def _findings(row: Row, comparison: Comparison) -> List[str]:
    """Return in words what differs in a frame."""
    names, found = comparison.card.classes, []
    boxes = row.boxes[comparison.shared.detection[row.boxes].all(axis=1)]
    for side, letter in enumerate(SIDES):
        alone = boxes[boxes[:, 1 - side] == 0, side]
        if len(alone):
            ids, counts = np.unique(alone, return_counts=True)
            found.append(f'only {letter}: ' + ', '.join(
                names.detection[class_id - 1] + (f' ×{count}' if count > 1 else '')
                for class_id, count in zip(ids, counts)))
    for first, second in boxes[(boxes > 0).all(axis=1) & (boxes[:, 0] != boxes[:, 1])]:
        found.append(f'{names.detection[first - 1]} (A) is {names.detection[second - 1]} (B)')
    if row.image_classes and row.image_classes[0] != row.image_classes[1]:
        first, second = (names.classification[index] for index in row.image_classes)
        found.append(f'{first} (A), {second} (B)')
    return found


def _classes_of(row: Row, comparison: Comparison) -> List[str]:
    """Return the names of the classes that the sides disagree on in a frame."""
    names = comparison.card.classes
    differ = row.boxes[row.boxes[:, 0] != row.boxes[:, 1]]
    found = {names.detection[class_id - 1] for class_id in differ[differ > 0]}
    found |= {names.segmentation[index] for index in np.flatnonzero(row.mask_iou < MIN_IOU)}
    return sorted(found)


def _frame(rank: int, shown: Shown, comparison: Comparison, timed: bool) -> Dict[str, Any]:
    row = comparison.rows[shown.index]
    kinds = ('A', 'B', 'Labels')
    return {
        'rank': rank, 'index': shown.index, 'when': _when(row, shown.index, timed),
        'score': row.score,
        'scores': [(task, score) for task, score in zip(TASKS, row.scores) if score == score],
        'tasks': [task for task, score in zip(TASKS, row.scores) if score >= CLEAR],
        'classes': _classes_of(row, comparison), 'findings': _findings(row, comparison),
        'values': row.values if row.values and np.isfinite(row.values).all() else None,
        'pictures': [{'file': f'{PICTURES}/{shown.index:06d}_{kind}.jpg', 'title': title,
                      'width': picture.width, 'height': picture.height}
                     for kind, title, picture in zip(KINDS, kinds, shown.pictures)]}


def _timeline(comparison: Comparison, frames: Sequence[Dict[str, Any]], timed: bool
              ) -> Dict[str, Any]:
    rows = comparison.rows
    columns = timeline.columns(rows)
    stamps = [row.stamp_ns for row in rows]
    ends = ([timeline.time_text(stamp, False) for stamp in (stamps[0], stamps[-1])] if timed
            else ['frame 0', f'frame {len(rows) - 1:,}'])
    overall = [column.scores[0] for column in columns]
    top = timeline.round_top(overall)
    return {
        'width': len(columns), 'height': timeline.HEIGHT, 'ends': ends, 'top': top,
        'overall': timeline.step_path(overall, top),
        'tasks': [(task, timeline.step_path([column.scores[number + 1] for column in columns]))
                  for number, task in enumerate(TASKS)
                  if any(row.scores[number] == row.scores[number] for row in rows)],
        'dots': [{'frame': frame, 'left': 100 * (frame['index'] + 0.5) / len(rows),
                  'bottom': 100 * frame['score'] / top}
                 for frame in sorted(frames, key=lambda frame: frame['index'])],
        'data': {'tasks': list(TASKS), 'columns': [
            [column.first, column.last, *column.scores,
             timeline.time_text(stamps[column.first]) if timed else '']
            for column in columns]}}


def _class_rows(summary: Summary, truth: Optional[Truth]) -> List[Dict[str, Any]]:
    rows = []
    for item in summary.classes:
        total = sum(item.alone) + item.both
        rows.append({
            'name': item.name, 'shared': item.shared, 'counts': item.counts, 'both': item.both,
            'alone': item.alone,
            'color': _hex(item.color_id), 'iou': item.iou if item.iou == item.iou else None,
            'shares': [100 * part / total if total else 0
                       for part in (item.alone[0], item.both, item.alone[1])],
            'ap50': [value if value == value else None for value in (
                side.get(item.name, float('nan')) for side in truth.ap50)] if truth else None})
    return rows


def page_context(comparison: Comparison, sides: Sequence[Side], occasion: Occasion,
                 truth: Optional[Truth]) -> Dict[str, Any]:
    """Return everything that the template shows."""
    summary = Summary(comparison)
    timed = timeline.is_timed(comparison.rows)
    frames = [_frame(rank, shown, comparison, timed)
              for rank, shown in enumerate(comparison.shown, 1)]
    first, last = comparison.rows[0].stamp_ns, comparison.rows[-1].stamp_ns
    return {
        'occasion': occasion, 'sides': [_side(side, letter)
                                        for side, letter in zip(sides, SIDES)],
        'titles': TITLES, 'summary': summary, 'tiles': tiles(summary),
        'sentences': sentences(summary, truth), 'truth': truth,
        'duration': timeline.time_text(last - first, False) if timed else '',
        'day': timeline.date_text(first) if timed else '', 'frames': frames,
        'timeline': _timeline(comparison, frames, timed),
        'class_rows': _class_rows(summary, truth), 'tasks': TASKS,
        'clear': CLEAR, 'min_iou': MIN_IOU, 'min_share': MIN_SHARE,
        'table': TABLE, 'written': datetime.now().strftime('%Y-%m-%d %H:%M')}


def render(context: Dict[str, Any]) -> str:
    """Return the page; all text in it is escaped."""
    environment = Environment(loader=PackageLoader('mtl_perception.comparison'),
                              autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    return environment.get_template('page.html').render(context)


def _write_table(path: Path, comparison: Comparison) -> None:
    names = comparison.card.classes.classification
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['frame', 'name', 'stamp_ns', 'score', *TASKS, 'boxes_a', 'boxes_b',
                         'boxes_both', 'image_class_a', 'image_class_b', 'labels_a', 'labels_b'])
        for index, row in enumerate(comparison.rows):
            first, second = row.boxes.T
            classes = [names[number] for number in row.image_classes or ()] or ['', '']
            numbers = [row.score, *row.scores], row.values or (float('nan'),) * 2
            scores, values = ([f'{value:.4f}' if value == value else '' for value in part]
                              for part in numbers)
            writer.writerow([index, row.name, row.stamp_ns, *scores, (first > 0).sum(),
                             (second > 0).sum(), (first == second).sum(), *classes, *values])


def write_page(folder: Path, comparison: Comparison, sides: Sequence[Side], occasion: Occasion,
               truth: Optional[Truth] = None) -> None:
    """
    Write the page, its pictures and a table of all frames.

    :param folder: that is there and empty
    :param comparison: of at least one frame
    :param sides: two
    :param occasion: what was compared on what
    :param truth: figures of both sides, where there are labels
    """
    (folder / PICTURES).mkdir()
    for shown in comparison.shown:
        for kind, picture in zip(KINDS, shown.pictures):
            (folder / PICTURES / f'{shown.index:06d}_{kind}.jpg').write_bytes(picture.jpeg)
    _write_table(folder / TABLE, comparison)
    page = render(page_context(comparison, sides, occasion, truth))
    (folder / PAGE).write_text(page, encoding='utf-8')
