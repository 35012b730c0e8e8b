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
"""What a listener knows about a camera and a node that answers it, and how it shows that."""

from collections import deque
from typing import Deque, Dict, List, Mapping, Optional, Set

from mtl_perception.card import Card
from mtl_perception.overlay import class_color, mask_share
from mtl_perception.prediction import Prediction
import numpy as np
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

RATE_WINDOW_S = 3.0
BAR_CELLS = 16
LINE_OBJECTS = 4


class Monitor:
    """
    Counts frames by their stamps.

    :param outputs: that make an answer when all have come
    """

    def __init__(self, outputs: Set[str]):
        """Start with nothing seen."""
        self.latest: Mapping[str, object] = {}
        self.latencies_ms: List[float] = []
        self._outputs = frozenset(outputs)
        self._partial: Dict[int, Dict[str, object]] = {}
        self._taken: Set[int] = set()
        self._answered: Set[int] = set()
        self._times_s: Deque[float] = deque()

    def add_picture(self, stamp_ns: int) -> None:
        """Note a picture of the camera."""
        self._taken.add(stamp_ns)

    def add_answer(self, output: str, stamp_ns: int, received_ns: int, message: object) -> None:
        """Note a message of the node; with the last of its frame the frame is answered."""
        parts = self._partial.setdefault(stamp_ns, {})
        parts[output] = message
        if self._outputs <= parts.keys():
            self.latest = self._partial.pop(stamp_ns)
            self._answered.add(stamp_ns)
            self.latencies_ms.append((received_ns - stamp_ns) / 1e6)
            self._times_s.append(received_ns / 1e9)

    @property
    def answered(self) -> int:
        """Return the number of frames with all outputs."""
        return len(self._answered)

    @property
    def dropped(self) -> int:
        """Return how many pictures between the first and the last answered one have none."""
        if not self._answered:
            return 0
        first, last = min(self._answered), max(self._answered)
        return len({stamp for stamp in self._taken if first < stamp < last} - self._answered)

    def rate_hz(self, now_ns: int) -> float:
        """Return answered frames a second, of late."""
        while self._times_s and self._times_s[0] < now_ns / 1e9 - RATE_WINDOW_S:
            self._times_s.popleft()
        if len(self._times_s) < 2:
            return 0.0
        return (len(self._times_s) - 1) / max(1e-9, self._times_s[-1] - self._times_s[0])

    def latency_ms(self, percent: float) -> float:
        """Return a percentile of the time from a frame's stamp to its last output's arrival."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else 0.0


def _top_class(prediction: Prediction, card: Card) -> str:
    top = int(prediction.class_probabilities.argmax())
    return f'{card.classes.classification[top]} {prediction.class_probabilities[top]:.2f}'


def status_line(elapsed_s: float, monitor: Monitor, now_ns: int,
                prediction: Optional[Prediction], card: Card) -> str:
    """Return what is seen and how fast, in one line."""
    text = (f'{elapsed_s:5.1f} s | {monitor.answered} frames, {monitor.rate_hz(now_ns):.1f} Hz, '
            f'{monitor.dropped} dropped | latency p50 {monitor.latency_ms(50):.0f} ms, '
            f'p95 {monitor.latency_ms(95):.0f} ms')
    if prediction is None:
        return f'{text} | nothing yet'
    found = prediction.detections
    objects = ', '.join(f'{card.classes.detection[i - 1]} {score:.2f}' for i, score in list(zip(
        found.class_ids.tolist(), found.scores.tolist()))[:LINE_OBJECTS])
    if len(found) > LINE_OBJECTS:
        objects += f' and {len(found) - LINE_OBJECTS} more'
    return (f'{text} | {_top_class(prediction, card)} | {objects or "no objects"} | '
            f'mask {mask_share(prediction.mask):.0%}')


def _bar(share: float, style: str, caption: str = '') -> Text:
    full = round(share * BAR_CELLS)
    return Text.assemble(('━' * full, style), ('━' * (BAR_CELLS - full), 'grey23'), caption)


def live_table(title: str, elapsed_s: float, length_s: float, monitor: Monitor, now_ns: int,
               prediction: Optional[Prediction], card: Card, rows: int = 8) -> Group:
    """
    Return what is seen and how fast, for a terminal.

    :param rows: of objects, so that the table does not jump
    """
    figures = Table.grid(padding=(0, 3))
    figures.add_row('[bold]latency[/] p50', f'{monitor.latency_ms(50):.0f} ms', 'p95',
                    f'{monitor.latency_ms(95):.0f} ms', '[dim]stamp to last answer received[/]')
    figures.add_row('[bold]rate[/]', f'{monitor.rate_hz(now_ns):.1f} Hz', 'frames',
                    str(monitor.answered), f'{monitor.dropped} dropped')
    seen = Table('', Column('object', min_width=24), 'score', Column('', min_width=BAR_CELLS),
                 box=None, padding=(0, 1), header_style='dim')
    place, share = 'nothing yet', 0.0
    if prediction is not None:
        place, share = _top_class(prediction, card), mask_share(prediction.mask)
        found = prediction.detections
        for class_id, score in list(zip(found.class_ids.tolist(), found.scores.tolist()))[:rows]:
            blue, green, red = class_color(class_id)
            color = f'#{red:02x}{green:02x}{blue:02x}'
            seen.add_row(Text('██', color), card.classes.detection[class_id - 1],
                         f'{score:.2f}', _bar(score, color))
    for _ in range(rows - seen.row_count):
        seen.add_row('', '', '', '')
    summary = Table.grid(padding=(0, 3))
    summary.add_row('[bold]place[/]', place)
    summary.add_row('[bold]mask[/]', _bar(share, 'cyan', f' {share:.0%} of the picture'))
    summary.add_row('[bold]time[/]', _bar(
        min(1.0, elapsed_s / length_s), 'green', f' {elapsed_s:.0f} of {length_s:.0f} s'))
    return Group(Text(title, 'bold'), Text(), figures, Text(), summary, Text(), seen)
