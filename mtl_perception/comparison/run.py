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
"""Both sides over all frames: numbers of each, pictures of the worst."""

from dataclasses import dataclass, field
from typing import Callable, List, Optional, Sequence, Tuple

from mtl_perception.card import Card
from mtl_perception.checkpoint import Checkpoint
from mtl_perception.comparison.classes import Shared, Translation
from mtl_perception.comparison.difference import compare, Difference, TASKS
from mtl_perception.comparison.frames import Shot
from mtl_perception.comparison.worst import draw_labels, draw_sides, Shown, Worst
from mtl_perception.config import InferenceSettings
from mtl_perception.engine import Engine
from mtl_perception.evaluation import FrameScore, score_frame, SETTINGS
from mtl_perception.prediction import Detections, Prediction
import numpy as np


@dataclass
class Side:
    """
    One of the two that are compared.

    :param name: for people
    :param translation: into the common numbering
    :param checkpoint: weights; None where the predictions were recorded
    :param engine: of them
    :param seconds: that each frame took
    """

    name: str
    translation: Translation
    checkpoint: Optional[Checkpoint] = None
    engine: Optional[Engine] = None
    seconds: List[float] = field(default_factory=list)

    def answer(self, shot: Shot, settings: InferenceSettings) -> Prediction:
        """Return what this side says about a frame, in the common numbering."""
        if self.engine is None:
            prediction = shot.recorded
            self.seconds.append(shot.recorded_after_s)
        else:
            prediction = self.engine.infer(shot.frame, settings)
            self.seconds.append(sum(prediction.stage_seconds.values()))
        return self.translation(prediction)


@dataclass(frozen=True, eq=False)
class Row:
    """
    What is kept of a frame.

    :param name: of a picture, empty in a bag
    :param stamp_ns: time, 0 where there is none
    :param scores: of ``TASKS``, nan where a side did not answer
    :param score: their mean
    :param boxes: int16 ``[N, 2]``, an object's class for each side, 0 for none
    :param mask_iou: float32 ``[S]``
    :param image_classes: of each side
    :param values: how near each side is to the labels, 0 to 1, where there are such
    """

    name: str
    stamp_ns: int
    scores: Tuple[float, ...]
    score: float
    boxes: np.ndarray
    mask_iou: np.ndarray
    image_classes: Optional[Tuple[int, int]]
    values: Optional[Tuple[float, float]]


@dataclass
class Comparison:
    """
    What came out.

    :param card: with the names of both sides
    :param shared: classes that both sides know
    :param rows: one a frame
    :param mask_confusion: int64 ``[S, S]`` pixels of all frames, first side by second
    :param labelled: scores of each side where there are labels
    :param shown: worst frames first
    """

    card: Card
    shared: Shared
    rows: List[Row] = field(default_factory=list)
    mask_confusion: Optional[np.ndarray] = None
    labelled: Tuple[List[FrameScore], List[FrameScore]] = field(
        default_factory=lambda: ([], []))
    shown: List[Shown] = field(default_factory=list)


def _confident(prediction: Prediction, threshold: float) -> Prediction:
    detections = prediction.detections
    if detections is None:
        return prediction
    kept = detections.scores >= threshold
    return Prediction(
        Detections(detections.boxes[kept], detections.scores[kept], detections.class_ids[kept]),
        prediction.mask, prediction.class_probabilities, prediction.stage_seconds)


def _row(shot: Shot, difference: Difference, scores: Sequence[FrameScore], card: Card) -> Row:
    values = None
    if scores:
        from mtl_perception.evaluation_report import frame_value
        values = tuple(frame_value(score, card) for score in scores)
    return Row(shot.name, shot.frame.stamp_ns,
               tuple(difference.scores.get(task, float('nan')) for task in TASKS),
               difference.score, difference.boxes, difference.mask_iou,
               difference.image_classes, values)


def run(shots, sides: Sequence[Side], card: Card, shared: Shared, worst: Worst,
        score_threshold: float = InferenceSettings.score_threshold,
        on_frame: Callable[[], None] = lambda: None) -> Comparison:
    """
    Return what both sides say about all frames, as far as it differs.

    :param shots: frames
    :param sides: two
    :param card: with the names of both sides
    :param shared: classes that both know
    :param worst: keeps the pictures to show
    :param score_threshold: of boxes that are compared and shown
    :param on_frame: called after each frame
    """
    result = Comparison(card, shared)
    result.mask_confusion = np.zeros((card.layout.segmentation,) * 2, np.int64)
    settings = InferenceSettings(score_threshold=score_threshold)
    for index, shot in enumerate(shots):
        if shot.sample is None:
            answers = shown = [side.answer(shot, settings) for side in sides]
            scores = []
        else:
            answers = [side.answer(shot, SETTINGS) for side in sides]
            shown = [_confident(answer, score_threshold) for answer in answers]
            scores = [score_frame(shot.sample, answer, card.layout.segmentation)
                      for answer in answers]
            for labelled, score in zip(result.labelled, scores):
                labelled.append(score)
        difference = compare(*shown, shared)
        row = _row(shot, difference, scores, card)
        result.rows.append(row)
        result.mask_confusion += difference.mask_confusion
        if worst.wants(index, row.stamp_ns, row.score):
            pictures = draw_sides(shot.frame, shown, difference, card)
            if shot.sample is not None:
                from mtl_perception.evaluation_report import truth_of
                pictures.append(draw_labels(shot.frame, truth_of(shot.sample, card), card))
            worst.keep(row.stamp_ns, Shown(index, row.score, pictures))
        on_frame()
    result.shown = worst.ranked()
    return result
