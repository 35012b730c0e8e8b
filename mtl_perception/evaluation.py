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
"""Score an engine on a labelled split."""

from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from mtl_perception.card import Card
from mtl_perception.checkpoint import (
    Checkpoint, ONNX, SAFETENSORS, save_checkpoint, verified_bytes)
from mtl_perception.config import InferenceSettings
from mtl_perception.data.sample import Sample
from mtl_perception.frame import Frame
from mtl_perception.metrics import (
    accuracy, average_precision, confusion_matrix, intersection_over_union, mean_iou, Objects)
from mtl_perception.prediction import Detections, Prediction
import numpy as np

SETTINGS = InferenceSettings(score_threshold=0.05)
"""Low, so that the whole precision-recall curve is seen."""

HEADLINE = ('map50_95', 'map50', 'miou', 'top1')
RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class FrameScore:
    """
    What one frame adds to the figures; None where the frame lacks the label.

    :param scene: frames of one scene are resampled together
    :param objects: labelled
    :param detections: found
    :param confusion: int64 ``[S, S]`` pixels
    :param image_classes: true and predicted
    """

    scene: str
    objects: Optional[Objects]
    detections: Optional[Detections]
    confusion: Optional[np.ndarray]
    image_classes: Optional[Tuple[int, int]]


@dataclass(frozen=True)
class Metrics:
    """
    The figures of a split, each 0 to 1, nan where no frame has the label.

    :param frames: number of frames
    :param scenes: number of scenes
    :param map50_95: COCO mAP at IoU 0.50 to 0.95
    :param map50: at IoU 0.50
    :param miou: mean IoU of the mask, background included
    :param top1: share of right image classes
    :param macro: its mean over the classes
    :param iou: of each mask class, by name
    :param intervals: 95% bootstrap interval over scenes of ``map50_95, map50, miou, top1``
    """

    frames: int
    scenes: int
    map50_95: float
    map50: float
    miou: float
    top1: float
    macro: float
    iou: Mapping[str, float]
    intervals: Mapping[str, Tuple[float, float]]


def scene_of(name: str) -> str:
    """Return the scene of a frame's name: the name itself, one frame a scene."""
    return name


def score_frame(sample: Sample, prediction: Prediction, classes: int) -> FrameScore:
    """
    Hold one prediction against its labels.

    :param sample: with the labels it has
    :param prediction: of all three heads
    :param classes: number of mask classes, background included
    """
    has_boxes = sample.boxes is not None
    return FrameScore(
        scene_of(sample.name),
        Objects(sample.boxes, sample.class_ids, sample.difficult) if has_boxes else None,
        prediction.detections if has_boxes else None,
        None if sample.mask is None else confusion_matrix(sample.mask, prediction.mask, classes),
        None if sample.image_class is None else (
            sample.image_class, int(prediction.class_probabilities.argmax())))


def _figures(scores: Sequence[FrameScore], card: Card) -> Dict[str, float]:
    with_boxes = [score for score in scores if score.objects is not None]
    whole, half = average_precision([score.objects for score in with_boxes],
                                    [score.detections for score in with_boxes],
                                    card.layout.detection)
    pairs = np.array([score.image_classes for score in scores
                      if score.image_classes is not None], np.int64).reshape(-1, 2)
    top1, macro = accuracy(*pairs.T)
    return {'map50_95': whole, 'map50': half, 'miou': mean_iou(_confusion(scores, card)),
            'top1': top1, 'macro': macro}


def _confusion(scores: Sequence[FrameScore], card: Card) -> np.ndarray:
    classes = card.layout.segmentation
    total = np.zeros((classes, classes), np.int64)
    for score in scores:
        if score.confusion is not None:
            total += score.confusion
    return total


def _intervals(scores: Sequence[FrameScore], card: Card, resamples: int,
               progress: Callable[[Iterable], Iterable]) -> Dict[str, Tuple[float, float]]:
    scenes: Dict[str, List[FrameScore]] = {}
    for score in scores:
        scenes.setdefault(score.scene, []).append(score)
    groups = list(scenes.values())
    rng = np.random.default_rng(0)
    drawn = []
    for _ in progress(range(resamples)):
        picks = rng.integers(len(groups), size=len(groups))
        figures = _figures([score for pick in picks for score in groups[pick]], card)
        drawn.append([figures[name] for name in HEADLINE])
    if not drawn:
        return {}
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    return {name: (float(low[index]), float(high[index]))
            for index, name in enumerate(HEADLINE)}


def summarise(scores: Sequence[FrameScore], card: Card, resamples: int = 0,
              progress: Callable[[Iterable], Iterable] = iter) -> Metrics:
    """
    Return the figures of all frames together.

    :param scores: one a frame
    :param card: of the weights
    :param resamples: bootstrap draws for the intervals; 0 leaves them out
    :param progress: wraps the draws, for a progress bar
    """
    iou = intersection_over_union(_confusion(scores, card))
    return Metrics(
        frames=len(scores), scenes=len({score.scene for score in scores}),
        iou=dict(zip(card.classes.segmentation, map(float, iou))),
        intervals=_intervals(scores, card, resamples, progress),
        **_figures(scores, card))


def evaluate(infer: Callable[[Frame, InferenceSettings], Prediction], samples: Iterable[Sample],
             card: Card, resamples: int = 0,
             progress: Callable[[Iterable], Iterable] = iter) -> Metrics:
    """
    Run ``infer`` on every sample and return the figures.

    :param infer: of an engine with ``card``
    :param samples: labelled, with the card's classes, as a data set or list
    :param card: of the weights
    :param resamples: bootstrap draws for the intervals; 0 leaves them out
    :param progress: wraps the samples and the draws, for progress bars
    """
    scores = [score_frame(sample, infer(Frame(sample.image), SETTINGS), card.layout.segmentation)
              for sample in progress(samples)]
    return summarise(scores, card, resamples, progress)


def headline(metrics: Metrics) -> Dict[str, float]:
    """Return the four figures that stand for all."""
    return {name: getattr(metrics, name) for name in HEADLINE}


def metrics_to_json(metrics: Metrics) -> Dict[str, Any]:
    """Return the figures as a plain mapping, rounded to four digits; null where there is none."""
    def plain(value: float) -> Optional[float]:
        return None if np.isnan(value) else round(value, 4)
    return {
        'frames': metrics.frames, 'scenes': metrics.scenes,
        **{name: plain(getattr(metrics, name)) for name in (*HEADLINE, 'macro')},
        'intervals': {name: [plain(low), plain(high)]
                      for name, (low, high) in metrics.intervals.items()},
        'iou': {name: plain(value) for name, value in metrics.iou.items()},
    }


def write_metrics(checkpoint: Checkpoint, split: str, document: Mapping[str, Any]) -> None:
    """
    Write the figures of a split into the weights' card; the model files stay what they are.

    :param checkpoint: whose folder is rewritten
    :param split: that was scored; figures already there under this name are replaced
    :param document: from :func:`metrics_to_json`
    :raises CheckpointError: if the files are altered, or the folder cannot be written
    """
    card = replace(checkpoint.card,
                   metrics={**checkpoint.card.metrics, split: dict(document)})
    save_checkpoint(checkpoint.folder, card, verified_bytes(checkpoint, ONNX),
                    verified_bytes(checkpoint, SAFETENSORS))
