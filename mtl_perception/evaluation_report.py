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
"""An evaluation for people: tables in Markdown, and a folder with a report and its pictures."""

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence

import cv2
from mtl_perception.card import Card
from mtl_perception.checkpoint import Checkpoint
from mtl_perception.config import InferenceSettings
from mtl_perception.data.description import DESCRIPTION, read_description
from mtl_perception.data.sample import Sample
from mtl_perception.engine import Engine
from mtl_perception.errors import ConfigError
from mtl_perception.evaluation import (
    FIGURES, FrameScore, HEADLINE, headline, Metrics, Robustness, Scoreboard, SETTINGS)
from mtl_perception.frame import Frame
from mtl_perception.markdown import markdown_table
from mtl_perception.metrics import (
    detection_confusion, detection_f1, intersection_over_union, mean_of_known, SIZES)
from mtl_perception.overlay import class_color, contact_sheet, draw_overlay
from mtl_perception.plots import plot_bars, plot_confusion, plot_precision_recall
from mtl_perception.prediction import Detections, Prediction
import numpy as np

TITLES = {'map50_95': 'mAP 50-95', 'map50': 'mAP 50', 'miou': 'mIoU', 'top1': 'top-1',
          'macro': 'macro top-1', 'map_small': 'mAP small', 'map_medium': 'mAP medium',
          'map_large': 'mAP large'}
SHOWN = InferenceSettings()
"""What an operator sees: the boxes in pictures and in the confusion matrix."""

SHOWN_FRAMES = 6
CELL_WIDTH = 512
CAPTION_HEIGHT = 30


@dataclass(frozen=True)
class Subject:
    """
    What was scored on what, and how.

    :param checkpoint: weights
    :param engine: of them
    :param root: folder of the data set
    :param split: name
    :param command: that did it
    """

    checkpoint: Checkpoint
    engine: Engine
    root: Path
    split: str
    command: str


def _number(value: Optional[float]) -> str:
    return '-' if value is None or np.isnan(value) else f'{value:.3f}'


def figures_table(metrics: Metrics) -> str:
    """Return the figures of the whole split with their intervals."""
    rows = [('figure', 'value', '95% interval')]
    for name in FIGURES:
        low, high = metrics.intervals.get(name, (None, None))
        rows.append((TITLES[name], _number(getattr(metrics, name)),
                     '-' if low is None else f'{low:.3f} to {high:.3f}'))
    return markdown_table(rows)


def classes_table(metrics: Metrics) -> str:
    """Return the figures of each class of the boxes and of the mask."""
    rows = [('class', 'objects', 'AP 50-95', 'AP 50', 'IoU')]
    for name in dict.fromkeys([*metrics.objects, *metrics.iou]):
        rows.append((name, str(metrics.objects.get(name, '-')),
                     _number(metrics.ap50_95.get(name)), _number(metrics.ap50.get(name)),
                     _number(metrics.iou.get(name))))
    return markdown_table(rows)


def losses_table(robustness: Robustness) -> str:
    """Return the headline figures behind each corruption, with their change from clean."""
    def percent(loss: float) -> str:
        return '-' if np.isnan(loss) else f'{0.0 - 100.0 * loss:+.1f}%'

    def row(name: str, figures: Dict[str, float], losses: Dict[str, float]) -> List[str]:
        return [name, *(f'{_number(figures[figure])} {percent(losses[figure]):>7}'
                        for figure in HEADLINE),
                percent(mean_of_known([*losses.values()]))]
    rows = [[f'severity {robustness.severity}', *(TITLES[name] for name in HEADLINE), 'mean'],
            ['clean', *(f'{_number(value)}        '
                        for value in headline(robustness.clean).values()), '']]
    rows += [row(name, headline(metrics), robustness.losses(name))
             for name, metrics in robustness.corrupted.items()]
    rows.append(['mean change', *(percent(loss) for loss in robustness.mean_losses().values()),
                 percent(robustness.mean_loss())])
    return markdown_table(rows)


def frame_value(score: FrameScore, card: Card) -> float:
    """
    Return how good one frame's answer is, 0 to 1; nan where nothing is there or found.

    The mean of the F1 of its boxes (score 0.3, IoU 0.5) and the mean IoU of its mask over the
    objects' classes that are there: background alone makes no good frame, and a few stray pixels
    of another class no bad one.
    """
    values = []
    if score.objects is not None:
        values.append(detection_f1(detection_confusion(
            score.objects, score.detections, card.layout.detection, SHOWN.score_threshold)))
    if score.confusion is not None:
        iou = intersection_over_union(score.confusion)
        values.append(mean_of_known(iou[1:][score.confusion.sum(axis=1)[1:] > 0]))
    return mean_of_known(values)


def truth_of(sample: Sample, card: Card) -> Prediction:
    """Return the labels as if they had been predicted, so that they are drawn alike."""
    detections = probabilities = None
    if sample.boxes is not None:
        detections = Detections(sample.boxes, np.ones(len(sample.boxes), np.float32),
                                sample.class_ids)
    if sample.image_class is not None:
        probabilities = np.zeros(card.layout.classification, np.float32)
        probabilities[sample.image_class] = 1.0
    return Prediction(detections, sample.mask, probabilities)


def _captioned(picture: np.ndarray, text: str) -> np.ndarray:
    height = max(1, round(picture.shape[0] * CELL_WIDTH / picture.shape[1]))
    picture = cv2.resize(picture, (CELL_WIDTH, height), interpolation=cv2.INTER_AREA)
    strip = np.zeros((CAPTION_HEIGHT, CELL_WIDTH, 3), np.uint8)
    cv2.putText(strip, text, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1,
                cv2.LINE_AA)
    return np.vstack([strip, picture])


def _draw_frames(subject: Subject, samples: Sequence[Sample], numbers: Iterable[int],
                 values: Sequence[float], path: Path) -> None:
    cells, card = [], subject.checkpoint.card
    for number in numbers:
        sample = samples[number]
        frame = Frame(sample.image)
        answer = subject.engine.infer(frame, SHOWN)
        title = f'{sample.name}: {values[number]:.2f}'
        cells += [_captioned(draw_overlay(frame, truth_of(sample, card), card), f'{title}, truth'),
                  _captioned(draw_overlay(frame, answer, card), f'{title}, network')]
    cv2.imwrite(str(path), contact_sheet(cells, columns=4, cell_width=CELL_WIDTH),
                [cv2.IMWRITE_JPEG_QUALITY, 90])


def _draw_diagrams(scores: Sequence[FrameScore], metrics: Metrics, card: Card, folder: Path
                   ) -> List[str]:
    """Draw what there are labels for; return the lines of the report that show it."""
    board, lines = Scoreboard(scores, card), []
    names = card.classes.detection
    if any(score.objects is not None for score in scores):
        precision = board.average_precision()
        plot_precision_recall(
            precision.curves[0, :, :, 0], names,
            [tuple(channel / 255 for channel in reversed(class_color(index + 1)))
             for index in range(len(names))], folder / 'precision_recall.png')
        plot_bars(
            {'AP 50-95': [precision.mean(size) for size in SIZES[1:]],
             'AP 50': [precision.mean_at_50(size) for size in SIZES[1:]]},
            [f'{size}\n{count} objects' for size, count in _counts_by_size(board).items()],
            'AP by the size of the object', folder / 'sizes.png',
            {'AP 50-95': [metrics.intervals.get(f'map_{size}', (np.nan, np.nan))
                          for size in SIZES[1:]]})
        matrix = sum(detection_confusion(objects, found, len(names), SHOWN.score_threshold)
                     for objects, found in zip(board.objects, board.detections))
        # Of the square of none and none nothing is known; none comes last, apart from classes.
        matrix = np.roll(matrix, -1, axis=(0, 1))
        plot_confusion(
            matrix, _with_counts([*names, 'background'], matrix), [*names, 'missed'],
            f'Boxes of score {SHOWN.score_threshold} and more, at IoU 0.50',
            folder / 'confusion_detection.png')
        lines += [
            '## Boxes', '',
            'Small is below 32 x 32 pixels of the source picture, medium to 96 x 96 (COCO). Lines '
            'on the bars are 95% intervals.', '', '![AP by size](sizes.png)', '',
            '![Precision over recall](precision_recall.png)', '',
            f'Below, boxes of score {SHOWN.score_threshold} and more; each takes the object that '
            'it covers best at IoU 0.50 or more, whatever its class. "Missed" are objects that no '
            'box took, the row "background" boxes that took no object. In brackets: how many.',
            '', '![Confusion of the boxes](confusion_detection.png)', '']
    if any(score.confusion is not None for score in scores):
        names = card.classes.segmentation
        plot_confusion(board.mask_confusion(), names, names, 'Pixels of the mask',
                       folder / 'confusion_segmentation.png')
        lines += ['## Mask', '', '![Confusion of the mask](confusion_segmentation.png)', '']
    pairs = board.image_classes()
    if len(pairs):
        names = card.classes.classification
        matrix = np.zeros((len(names), len(names)), np.int64)
        np.add.at(matrix, tuple(pairs.T), 1)
        plot_confusion(matrix, _with_counts(names, matrix), names, 'Image class',
                       folder / 'confusion_classification.png')
        lines += ['## Image class', '', 'In brackets: how many frames.', '',
                  '![Confusion of the image class](confusion_classification.png)', '']
    return lines


def _with_counts(names: Sequence[str], matrix: np.ndarray) -> List[str]:
    return [f'{name} ({count})' for name, count in zip(names, matrix.sum(axis=1))]


def _counts_by_size(board: Scoreboard) -> Dict[str, int]:
    areas = np.concatenate([
        np.prod(objects.boxes[:, 2:] - objects.boxes[:, :2], axis=1)[~objects.difficult]
        for objects in board.objects])
    below_small, below_medium = (areas < 32 ** 2).sum(), (areas < 96 ** 2).sum()
    return {'small': below_small, 'medium': below_medium - below_small,
            'large': len(areas) - below_medium}


def _provenance(subject: Subject) -> str:
    own, split = read_description(subject.root, subject.split)
    return (json.dumps({**own, subject.split: split}, indent=1) if split
            else f'no {DESCRIPTION} that tells of this split')


def _how(subject: Subject, metrics: Metrics) -> List[str]:
    card = subject.checkpoint.card
    return [
        f'# {card.name} on {subject.split}', '',
        f'{metrics.frames} frames of {metrics.scenes} scenes of `{subject.root}`, through the '
        f'engine: {subject.engine.engine_name} on {subject.engine.device_name} '
        f'({subject.engine.precision}). Boxes count from a score of {SETTINGS.score_threshold}.',
        '',
        '```', subject.command, '```', '',
        f'Weights `{subject.checkpoint.folder}`:', '',
        markdown_table([('file', 'sha256'),
                        *((name, digest.sha256) for name, digest in card.files.items())]), '',
        'The data set says of itself:', '', '```json', _provenance(subject), '```', '']


def write_report(folder: Path, subject: Subject, samples: Sequence[Sample],
                 scores: Sequence[FrameScore], metrics: Metrics,
                 robustness: Optional[Robustness] = None) -> Path:
    """
    Write ``report.md`` and the pictures that it shows.

    :param folder: where to, made if it is not there; files of an earlier report are replaced
    :param subject: what was scored on what
    :param samples: that were scored
    :param scores: of each sample
    :param metrics: of all together
    :param robustness: what corruptions cost, if that was asked
    :return: path of the report
    :raises ConfigError: if the folder cannot be written
    """
    card = subject.checkpoint.card
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lines = [*_how(subject, metrics), '## Figures', '', figures_table(metrics), '']
        if robustness is not None:
            lines += ['## Common corruptions', '', losses_table(robustness), '']
        lines += ['## Classes', '', classes_table(metrics), '']
        lines += _draw_diagrams(scores, metrics, card, folder)
        values = [frame_value(score, card) for score in scores]
        ranked = sorted(np.flatnonzero(np.isfinite(values)).tolist(), key=values.__getitem__)
        if ranked:
            for name, numbers in (('worst', ranked), ('best', ranked[::-1])):
                _draw_frames(subject, samples, numbers[:SHOWN_FRAMES], values,
                             folder / f'{name}_frames.jpg')
            lines += [
                '## Frames', '',
                "The number is the mean of the F1 of the frame's boxes (score "
                f'{SHOWN.score_threshold} and more, IoU 0.50) and the mean IoU of its mask over '
                'the classes that are there, without background. Frames without objects and boxes '
                'are left out. Truth is left, the answer right.', '',
                'Worst:', '', '![Worst frames](worst_frames.jpg)', '',
                'Best:', '', '![Best frames](best_frames.jpg)', '']
        path = folder / 'report.md'
        path.write_text('\n'.join(lines), encoding='utf-8')
    except OSError as error:
        raise ConfigError(f'{folder}: cannot be written: {error.strerror}') from None
    return path
