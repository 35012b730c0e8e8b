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
"""Score an engine on a labelled split, as it is and behind common corruptions."""

from dataclasses import dataclass, replace
from typing import (
    Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple)
import zlib

from mtl_perception.card import Card
from mtl_perception.checkpoint import (
    Checkpoint, ONNX, SAFETENSORS, save_checkpoint, verified_bytes, verified_int8)
from mtl_perception.config import InferenceSettings
from mtl_perception.corruptions import CORRUPTIONS
from mtl_perception.data.sample import Sample
from mtl_perception.frame import Frame
from mtl_perception.metrics import (
    accuracy, AveragePrecision, confusion_matrix, DetectionMatches, intersection_over_union,
    mean_iou, mean_of_known, Objects)
from mtl_perception.prediction import Detections, Prediction
import numpy as np

Infer = Callable[[Frame, InferenceSettings], Prediction]

SETTINGS = InferenceSettings(score_threshold=0.05)
"""Low, so that the whole precision-recall curve is seen."""

HEADLINE = ('map50_95', 'map50', 'miou', 'top1')
FIGURES = (*HEADLINE, 'macro', 'map_small', 'map_medium', 'map_large')
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
    :param map_small: COCO mAP at IoU 0.50 to 0.95 of boxes below 32 * 32 source pixels
    :param map_medium: to 96 * 96
    :param map_large: above
    :param objects: number of labelled objects that are not difficult of each class, by name
    :param ap50_95: AP at IoU 0.50 to 0.95 of each class, by name
    :param ap50: at IoU 0.50
    :param iou: of each mask class, by name
    :param intervals: 95% bootstrap interval over scenes of each of ``FIGURES``
    """

    frames: int
    scenes: int
    map50_95: float
    map50: float
    miou: float
    top1: float
    macro: float
    map_small: float
    map_medium: float
    map_large: float
    objects: Mapping[str, int]
    ap50_95: Mapping[str, float]
    ap50: Mapping[str, float]
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


def score_frames(infer: Infer, samples: Iterable[Sample], card: Card) -> List[FrameScore]:
    """
    Run ``infer`` on every sample and hold the predictions against the labels.

    :param infer: of an engine with ``card``
    :param samples: labelled, with the card's classes
    :param card: of the weights
    """
    return [score_frame(sample, infer(Frame(sample.image), SETTINGS), card.layout.segmentation)
            for sample in samples]


class Scoreboard:
    """
    The scores of all frames, ready to give the figures of any draw of them.

    :param scores: one a frame, at least one
    :param card: of the weights
    """

    def __init__(self, scores: Sequence[FrameScore], card: Card):
        empty = np.zeros((0, 4), np.float32)
        no_ids = np.zeros(0, np.int64)
        # A frame without objects and detections adds nothing, as if it were not there.
        self.objects = [score.objects or Objects(empty, no_ids, np.zeros(0, bool))
                        for score in scores]
        self.detections = [
            Detections(empty, np.zeros(0, np.float32), no_ids)
            if score.detections is None else score.detections for score in scores]
        self._matches = DetectionMatches(self.objects, self.detections, card.layout.detection)
        nothing = np.zeros((card.layout.segmentation,) * 2, np.int64)
        self._confusions = np.stack([nothing if score.confusion is None else score.confusion
                                     for score in scores])
        self._image_classes = np.array([score.image_classes or (-1, -1) for score in scores])

    def average_precision(self, frames: Optional[np.ndarray] = None) -> AveragePrecision:
        """Return that of all frames, or of those drawn (int ``[F]``, one may come twice)."""
        return self._matches.average_precision(frames)

    def mask_confusion(self, frames: Optional[np.ndarray] = None) -> np.ndarray:
        """Return how many pixels of each class (row) were given each, int64 ``[S, S]``."""
        if frames is None:
            return self._confusions.sum(axis=0)
        times = np.bincount(frames, minlength=len(self._confusions))
        return np.tensordot(times, self._confusions, 1)

    def image_classes(self, frames: Optional[np.ndarray] = None) -> np.ndarray:
        """Return true and predicted image class of the frames that have one, int ``[F, 2]``."""
        pairs = self._image_classes if frames is None else self._image_classes[frames]
        return pairs[pairs[:, 0] >= 0]

    def figures(self, frames: Optional[np.ndarray] = None) -> Dict[str, float]:
        """Return the value of each of ``FIGURES``."""
        precision = self.average_precision(frames)
        top1, macro = accuracy(*self.image_classes(frames).T)
        return {'map50_95': precision.mean(), 'map50': precision.mean_at_50(),
                'miou': mean_iou(self.mask_confusion(frames)), 'top1': top1, 'macro': macro,
                'map_small': precision.mean('small'), 'map_medium': precision.mean('medium'),
                'map_large': precision.mean('large')}


def _intervals(board: Scoreboard, scenes: Sequence[str], resamples: int,
               progress: Callable[[Iterable], Iterable]) -> Dict[str, Tuple[float, float]]:
    frames_by_scene: Dict[str, List[int]] = {}
    for index, scene in enumerate(scenes):
        frames_by_scene.setdefault(scene, []).append(index)
    groups = list(frames_by_scene.values())
    rng = np.random.default_rng(0)
    drawn: Dict[str, List[float]] = {name: [] for name in FIGURES}
    for _ in progress(range(resamples)):
        picks = rng.integers(len(groups), size=len(groups))
        figures = board.figures(np.concatenate([groups[pick] for pick in picks]))
        for name in FIGURES:
            # A draw may lack all small objects, say: it has no such figure.
            drawn[name] += [figures[name]] if np.isfinite(figures[name]) else []
    return {name: tuple(map(float, np.percentile(values, [2.5, 97.5])))
            for name, values in drawn.items() if values}


def summarise(scores: Sequence[FrameScore], card: Card, resamples: int = 0,
              progress: Callable[[Iterable], Iterable] = iter) -> Metrics:
    """
    Return the figures of all frames together.

    :param scores: one a frame, at least one
    :param card: of the weights
    :param resamples: bootstrap draws for the intervals; 0 leaves them out
    :param progress: wraps the draws, for a progress bar
    """
    board = Scoreboard(scores, card)
    precision = board.average_precision()
    names = card.classes.detection
    asked = [objects.class_ids[~objects.difficult] for objects in board.objects]
    counts = np.bincount(np.concatenate(asked).astype(np.int64), minlength=len(names) + 1)[1:]
    iou = intersection_over_union(board.mask_confusion())
    scenes = [score.scene for score in scores]
    return Metrics(
        frames=len(scores), scenes=len(set(scenes)),
        objects=dict(zip(names, counts.tolist())),
        ap50_95=dict(zip(names, precision.of_classes().tolist())),
        ap50=dict(zip(names, precision.of_classes_at_50().tolist())),
        iou=dict(zip(card.classes.segmentation, iou.tolist())),
        intervals=_intervals(board, scenes, resamples, progress),
        **board.figures())


def evaluate(infer: Infer, samples: Iterable[Sample], card: Card, resamples: int = 0,
             progress: Callable[[Iterable], Iterable] = iter) -> Metrics:
    """
    Run ``infer`` on every sample and return the figures.

    :param infer: of an engine with ``card``
    :param samples: labelled, with the card's classes, as a data set or list
    :param card: of the weights
    :param resamples: bootstrap draws for the intervals; 0 leaves them out
    :param progress: wraps the samples and the draws, for progress bars
    """
    return summarise(score_frames(infer, progress(samples), card), card, resamples, progress)


def corrupted(samples: Iterable[Sample], name: str, severity: int) -> Iterator[Sample]:
    """
    Yield the samples behind a corruption, each with the same noise every time.

    :param samples: labelled
    :param name: a key of ``CORRUPTIONS``
    :param severity: 1 to 5
    :raises ConfigError: if the severity is another
    """
    for sample in samples:
        rng = np.random.default_rng(zlib.crc32(sample.name.encode()))
        yield replace(sample, image=CORRUPTIONS[name](sample.image, severity, rng))


@dataclass(frozen=True)
class Robustness:
    """
    What common corruptions cost.

    :param severity: 1 to 5
    :param clean: the figures without
    :param corrupted: the figures on the same frames behind each corruption, by name
    """

    severity: int
    clean: Metrics
    corrupted: Mapping[str, Metrics]

    def losses(self, corruption: str) -> Dict[str, float]:
        """Return the loss of each headline figure, as a share of its clean value."""
        clean, worse = headline(self.clean), headline(self.corrupted[corruption])
        return {name: 1.0 - worse[name] / clean[name] if clean[name] else float('nan')
                for name in HEADLINE}

    def mean_losses(self) -> Dict[str, float]:
        """Return the mean loss of each headline figure over the corruptions."""
        losses = [self.losses(corruption) for corruption in self.corrupted]
        return {name: float(np.mean([loss[name] for loss in losses])) for name in HEADLINE}

    def mean_loss(self) -> float:
        """Return the mean loss over the corruptions and the headline figures that there are."""
        return mean_of_known(list(self.mean_losses().values()))


def headline(metrics: Metrics) -> Dict[str, float]:
    """Return the four figures that stand for all."""
    return {name: getattr(metrics, name) for name in HEADLINE}


def _plain(value: float) -> Optional[float]:
    return None if np.isnan(value) else round(value, 4)


def _plain_values(values: Mapping[str, float]) -> Dict[str, Optional[float]]:
    return {name: _plain(value) for name, value in values.items()}


def metrics_to_json(metrics: Metrics) -> Dict[str, Any]:
    """Return the figures as a plain mapping, rounded to four digits; null where there is none."""
    return {
        'frames': metrics.frames, 'scenes': metrics.scenes,
        **{name: _plain(getattr(metrics, name)) for name in FIGURES},
        'intervals': {name: [_plain(low), _plain(high)]
                      for name, (low, high) in metrics.intervals.items()},
        'objects': dict(metrics.objects), 'ap50_95': _plain_values(metrics.ap50_95),
        'ap50': _plain_values(metrics.ap50), 'iou': _plain_values(metrics.iou),
    }


def robustness_to_json(robustness: Robustness) -> Dict[str, Any]:
    """Return the losses as a plain mapping; null where there is none."""
    return {
        'severity': robustness.severity, 'mean_loss': _plain(robustness.mean_loss()),
        'mean_losses': _plain_values(robustness.mean_losses()),
        'figures': {name: _plain_values(headline(metrics))
                    for name, metrics in robustness.corrupted.items()},
        'losses': {name: _plain_values(robustness.losses(name))
                   for name in robustness.corrupted},
    }


def write_metrics(checkpoint: Checkpoint, split: str, precision: str,
                  document: Mapping[str, Any]) -> None:
    """
    Write the figures of a split into the weights' card; the model files stay what they are.

    They go under the split's name, or such as ``test@int8`` if they are not float32's.

    :param checkpoint: whose folder is rewritten
    :param split: that was scored; figures already there under this name are replaced
    :param precision: of the network's arithmetic
    :param document: from :func:`metrics_to_json`
    :raises CheckpointError: if the files are altered, or the folder cannot be written
    """
    name = split if precision == 'float32' else f'{split}@{precision}'
    card = replace(checkpoint.card,
                   metrics={**checkpoint.card.metrics, name: dict(document)})
    save_checkpoint(checkpoint.folder, card, verified_bytes(checkpoint, ONNX),
                    verified_bytes(checkpoint, SAFETENSORS), verified_int8(checkpoint))
