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
"""Which side is nearer to the labels, and whether that can be told from chance."""

from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Sequence

from mtl_perception.card import Card
from mtl_perception.evaluation import FrameScore, HEADLINE, Scoreboard
import numpy as np


@dataclass(frozen=True)
class Figure:
    """
    One figure of both sides.

    :param name: one of ``HEADLINE``
    :param values: of each side, 0 to 1
    :param interval: 95% bootstrap interval of the second's less the first's; both sides are
        scored on the same draws of scenes
    """

    name: str
    values: Sequence[float]
    interval: Sequence[float]

    @property
    def difference(self) -> float:
        """Return the second side's value less the first's."""
        return self.values[1] - self.values[0]

    @property
    def is_clear(self) -> bool:
        """Tell whether the interval leaves out 0."""
        return not self.interval[0] <= 0.0 <= self.interval[1]


@dataclass(frozen=True)
class Truth:
    """
    How both sides do on the labels.

    :param figures: that there are labels for
    :param ap50: AP at IoU 0.50 of each side by class
    """

    figures: Sequence[Figure]
    ap50: Sequence[Dict[str, float]]


def score_sides(scores: Sequence[Sequence[FrameScore]], card: Card, resamples: int,
                progress: Callable[[Iterable], Iterable] = iter) -> Truth:
    """
    Return the figures of both sides on the same frames.

    :param scores: of each side, one a frame, at least one
    :param card: with the names of both
    :param resamples: bootstrap draws, at least 1
    :param progress: wraps the draws, for a progress bar
    """
    boards = [Scoreboard(side, card) for side in scores]
    _, scenes = np.unique([score.scene for score in scores[0]], return_inverse=True)
    groups = np.split(np.argsort(scenes, kind='stable'), np.cumsum(np.bincount(scenes))[:-1])
    rng = np.random.default_rng(0)
    drawn: Dict[str, List[float]] = {name: [] for name in HEADLINE}
    for _ in progress(range(resamples)):
        picks = rng.integers(len(groups), size=len(groups))
        frames = np.concatenate([groups[pick] for pick in picks])
        first, second = (board.figures(frames) for board in boards)
        for name in HEADLINE:
            drawn[name].append(second[name] - first[name])
    values = [board.figures() for board in boards]
    figures = [
        Figure(name, [side[name] for side in values],
               np.nanpercentile(drawn[name], [2.5, 97.5]).tolist())
        for name in HEADLINE
        if np.isfinite([side[name] for side in values]).all() and np.isfinite(drawn[name]).any()]
    names = card.classes.detection
    return Truth(figures, [
        dict(zip(names, board.average_precision().of_classes_at_50().tolist()))
        for board in boards])
