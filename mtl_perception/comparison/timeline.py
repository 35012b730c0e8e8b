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
"""Disagreement over the frames, as columns that a browser draws."""

from dataclasses import dataclass
from datetime import datetime
from typing import List, Sequence, Tuple

from mtl_perception.comparison.run import Row
import numpy as np

MAX_COLUMNS = 480
HEIGHT = 100
# Stamps before 1980 count from the start of a video or a simulation, not from 1970.
FIRST_DATE_NS = 315_532_800 * 10**9


@dataclass(frozen=True)
class Column:
    """
    Some frames side by side.

    :param first: index of the first
    :param last: index of the last
    :param scores: largest of each, the frame's score first, then those of the tasks
    """

    first: int
    last: int
    scores: Tuple[float, ...]


def columns(rows: Sequence[Row]) -> List[Column]:
    """Return at most ``MAX_COLUMNS`` columns; of several frames the largest score counts."""
    scores = np.nan_to_num([(row.score, *row.scores) for row in rows])
    bounds = np.linspace(0, len(rows), min(len(rows), MAX_COLUMNS) + 1).astype(int)
    return [Column(int(start), int(stop) - 1,
                   tuple(round(float(value), 3) for value in scores[start:stop].max(axis=0)))
            for start, stop in zip(bounds, bounds[1:])]


def round_top(values: Sequence[float]) -> float:
    """Return the top of an axis for values of 0 to 1: a half or more, in quarters."""
    return max(0.5, float(np.ceil(max(values) * 4)) / 4)


def step_path(values: Sequence[float], top: float = 1.0) -> str:
    """Return an SVG path over columns of width 1; 0 is at ``HEIGHT``, ``top`` at 0."""
    steps = ''.join(f'V{HEIGHT * (1 - value / top):.1f}h1' for value in values)
    return f'M0 {HEIGHT}{steps}V{HEIGHT}z'


def is_timed(rows: Sequence[Row]) -> bool:
    """Tell whether the frames have times that grow."""
    stamps = np.array([row.stamp_ns for row in rows])
    return len(rows) > 1 and bool((np.diff(stamps) > 0).all())


def time_text(stamp_ns: int, fraction: bool = True) -> str:
    """Return a frame's time of day here, or since the start."""
    if stamp_ns >= FIRST_DATE_NS:
        tenths = f'.{stamp_ns // 10**8 % 10}' if fraction else ''
        return datetime.fromtimestamp(stamp_ns // 10**9).strftime('%H:%M:%S') + tenths
    minutes, rest = divmod(stamp_ns / 1e9, 60)
    return f'{int(minutes)}:{rest:04.1f}' if fraction else f'{int(minutes)}:{int(rest):02d}'


def date_text(stamp_ns: int) -> str:
    """Return the day of a frame here with the time zone; empty where the clock has no date."""
    if stamp_ns < FIRST_DATE_NS:
        return ''
    return datetime.fromtimestamp(stamp_ns // 10**9).astimezone().strftime('%Y-%m-%d, UTC%z')
