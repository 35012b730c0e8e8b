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
"""What a comparison says about all frames together: counts, tables and sentences."""

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Dict, List, Optional, Sequence, Tuple

from mtl_perception.comparison.difference import box_score, CLEAR, TASKS
from mtl_perception.comparison.run import Comparison, Side
from mtl_perception.comparison.truth import Truth
from mtl_perception.metrics import intersection_over_union, mean_of_known
import numpy as np

SIDES = ('A', 'B')
TITLES = {'map50_95': 'mAP 50-95', 'map50': 'mAP 50', 'miou': 'mIoU', 'top1': 'top-1'}
TOLD_CLASSES = 3
MIN_CHANGE = 0.1
MIN_OBJECTS = 3
MAX_MIXUPS = 12


@dataclass(frozen=True)
class ClassCount:
    """
    What both sides saw of one class.

    :param name: of the class
    :param color_id: that the class has in pictures
    :param shared: whether both sides know it
    :param counts: boxes of each side
    :param both: boxes that they share
    :param iou: of one side's mask with the other's over all frames, nan if neither has it
    """

    name: str
    color_id: int
    shared: bool
    counts: Tuple[int, int]
    both: int
    iou: float

    @property
    def alone(self) -> Tuple[int, int]:
        """Return the boxes that only one side has, of each side."""
        return self.counts[0] - self.both, self.counts[1] - self.both


@dataclass(frozen=True)
class Mixup:
    """
    How often the sides had different names for one thing.

    :param names: of each side
    :param count: objects or frames
    """

    names: Tuple[str, str]
    count: int


class Summary:
    """
    The figures of a comparison.

    :param comparison: with at least one frame
    """

    def __init__(self, comparison: Comparison):
        """Add all frames up."""
        rows, card = comparison.rows, comparison.card
        self.frames = len(rows)
        self.scores = np.array([row.score for row in rows])
        self.clear = int((self.scores >= CLEAR).sum())
        self.answered = dict(zip(TASKS, np.isfinite([row.scores for row in rows]).any(axis=0)))
        boxes = np.concatenate([row.boxes for row in rows])
        self.objects = tuple(int((boxes[:, side] > 0).sum()) for side in range(2))
        same = boxes[:, 0] == boxes[:, 1]
        self.both = int(same.sum())
        self.renamed = int((~same & (boxes > 0).all(axis=1)).sum())
        self.alone = tuple(int((boxes[:, 1 - side] == 0).sum()) for side in range(2))
        self.box_agreement = 1.0 - box_score(boxes, comparison.shared)
        self._iou = intersection_over_union(comparison.mask_confusion)
        self._iou[~comparison.shared.mask] = np.nan
        self.mask_agreement = mean_of_known(self._iou[1:])
        pairs = [row.image_classes for row in rows if row.image_classes]
        self.image_class_frames = len(pairs)
        self.image_class_same = sum(first == second for first, second in pairs)
        self.classes = self._classes(comparison, boxes)
        self.box_mixups = _mixups(map(tuple, boxes[(boxes > 0).all(axis=1)].tolist()),
                                  ('', *card.classes.detection))
        self.image_class_mixups = _mixups(pairs, card.classes.classification)

    def _classes(self, comparison: Comparison, boxes: np.ndarray) -> List[ClassCount]:
        names = comparison.card.classes
        found = []
        for name in dict.fromkeys([*names.detection, *names.segmentation[1:]]):
            box_id = names.detection.index(name) + 1 if name in names.detection else None
            mask_id = names.segmentation.index(name) if name in names.segmentation[1:] else None
            is_class = boxes == box_id
            iou = float('nan') if mask_id is None else float(self._iou[mask_id])
            if is_class.any() or np.isfinite(iou):
                found.append(ClassCount(
                    name, box_id or mask_id,
                    bool(comparison.shared.detection[box_id] if box_id
                         else comparison.shared.mask[mask_id]),
                    (int(is_class[:, 0].sum()), int(is_class[:, 1].sum())),
                    int(is_class.all(axis=1).sum()), iou))
        return sorted(found, key=lambda item: -sum(item.alone))


def _mixups(pairs, names: Sequence[str]) -> List[Mixup]:
    counts = Counter(pair for pair in pairs if pair[0] != pair[1])
    return [Mixup((names[first], names[second]), count)
            for (first, second), count in counts.most_common(MAX_MIXUPS)]


def _times(count: int, noun: str) -> str:
    return f'{count:,} {noun}' if count == 1 else f'{count:,} {noun}s'


def _often(before: int, after: int) -> str:
    if after >= 2 * before:
        return f'{after / before:.1f} times as often'
    change = 100 * abs(after - before) / before
    return f'{change:.0f}% {"more" if after > before else "less"} often'


def _class_sentences(classes: Sequence[ClassCount]) -> List[str]:
    """Return what changed most, of classes that both sides know."""
    changed = sorted((item for item in classes if item.shared
                      and abs(item.counts[1] - item.counts[0])
                      >= max(MIN_OBJECTS, MIN_CHANGE * min(item.counts))),
                     key=lambda item: -abs(item.counts[1] - item.counts[0]))
    sentences = []
    for item in changed[:TOLD_CLASSES]:
        before, after = item.counts
        if not before or not after:
            seer, count = (SIDES[1], after) if after else (SIDES[0], before)
            other = SIDES[0] if after else SIDES[1]
            sentences.append(f'{seer} sees {item.name} {_times(count, "time")}, {other} never.')
        else:
            sentences.append(f'B sees {item.name} {_often(before, after)} '
                             f'({after:,} instead of {before:,}).')
    return sentences


def _truth_sentences(truth: Truth) -> List[str]:
    told = []
    for side, letter in enumerate(SIDES):
        better = [f'{TITLES[figure.name]} ({figure.values[side]:.3f} instead of '
                  f'{figure.values[1 - side]:.3f})' for figure in truth.figures
                  if figure.is_clear and (figure.difference > 0) == bool(side)]
        if better:
            told.append(f'Against the labels {letter} is better in {", ".join(better)}.')
    unclear = [TITLES[figure.name] for figure in truth.figures if not figure.is_clear]
    if unclear:
        told.append(f'In {", ".join(unclear)} the labels show no clear difference.')
    return told


def sentences(summary: Summary, truth: Optional[Truth]) -> List[str]:
    """Return what a reader wants to know first."""
    if not (summary.scores > 0).any():
        return [f'A and B say the same on {"all " if summary.frames > 1 else ""}'
                f'{_times(summary.frames, "frame")}.']
    told = [f'They clearly disagree on {summary.clear:,} of {_times(summary.frames, "frame")}.']
    if truth:
        told += _truth_sentences(truth)
    if summary.answered['boxes'] and any(summary.objects):
        before, after = summary.objects
        told.append(f'A finds {_times(before, "object")}, B {after:,}: {summary.both:,} they '
                    f'share, {summary.alone[0]:,} only A has, {summary.alone[1]:,} only B has, '
                    f'{summary.renamed:,} they call differently.')
        told += _class_sentences(summary.classes)
    if summary.image_class_frames:
        differ = summary.image_class_frames - summary.image_class_same
        text = (f'They name different image classes on {differ:,} of '
                f'{_times(summary.image_class_frames, "frame")}')
        mixup = next(iter(summary.image_class_mixups), None)
        told.append(f'{text}, most often {mixup.names[0]} (A) and {mixup.names[1]} (B).'
                    if mixup else 'They name the same image class throughout.')
    return told


def median_ms(side: Side) -> Optional[float]:
    """Return the median time of a frame; None where none was measured."""
    seconds = [value for value in side.seconds if value > 0]
    return 1e3 * median(seconds) if seconds else None


def tiles(summary: Summary) -> List[Dict[str, str]]:
    """Return the figures that stand on top of the page."""
    shown = [{'value': f'{summary.clear:,}', 'of': f'of {summary.frames:,}',
              'label': 'frames with clear disagreement'}]
    if summary.answered['boxes']:
        shown.append({'value': f'{100 * summary.box_agreement:.0f}', 'of': '%',
                      'label': 'agreement of boxes (F1)'})
    if np.isfinite(summary.mask_agreement):
        shown.append({'value': f'{100 * summary.mask_agreement:.0f}', 'of': '%',
                      'label': 'agreement of masks (mean IoU)'})
    if summary.image_class_frames:
        share = 100 * summary.image_class_same / summary.image_class_frames
        shown.append({'value': f'{share:.0f}', 'of': '%', 'label': 'same image class'})
    return shown
