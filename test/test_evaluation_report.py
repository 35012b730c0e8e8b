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
"""Reports: tables that line up, pictures that are there, and frames ranked as they say."""

from dataclasses import replace
import json
from types import SimpleNamespace

import cv2
from mtl_perception.card import Architecture, Card, FileDigest, ImageInput
from mtl_perception.checkpoint import Checkpoint
from mtl_perception.data.household import HOUSEHOLD_NAMES
from mtl_perception.data.voc import VocDataset
from mtl_perception.errors import ConfigError
from mtl_perception.evaluation import Robustness, score_frame, score_frames, summarise
from mtl_perception.evaluation_report import (
    classes_table, figures_table, frame_value, losses_table, markdown_table, Subject, write_report)
from mtl_perception.prediction import Detections, Prediction
import numpy as np
import pytest
from squares import write_squares

CARD = Card('squares', Architecture('unified', (8, 16, 32)), ImageInput(96, 96), HOUSEHOLD_NAMES,
            {'model.onnx': FileDigest('ab' * 32, 1)})
PICTURES = {'precision_recall.png', 'sizes.png', 'confusion_detection.png',
            'confusion_segmentation.png', 'confusion_classification.png', 'worst_frames.jpg',
            'best_frames.jpg'}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Return a data set of eight pictures that tells where it is from."""
    folder = write_squares(tmp_path_factory.mktemp('data'), 'test', 8)
    (folder / 'dataset.json').write_text(json.dumps(
        {'generator': 'squares', 'generator_version': 7, 'splits': {'test': {'seed': 4711}}}))
    return folder


@pytest.fixture(scope='module')
def samples(root):
    """Return its pictures."""
    return list(VocDataset(root, 'test', HOUSEHOLD_NAMES))


def truth_of(sample):
    """Return a sample's labels as an answer."""
    probabilities = np.zeros(CARD.layout.classification, np.float32)
    probabilities[sample.image_class] = 1.0
    boxes = Detections(sample.boxes, np.ones(len(sample.boxes), np.float32), sample.class_ids)
    return Prediction(boxes, sample.mask, probabilities)


class Knowing:
    """An engine that knows the labels by heart, but never sees a frame's first box."""

    engine_name, device_name, precision = 'memory', 'cpu', 'float32'

    def __init__(self, samples):
        self._answers = {sample.image.tobytes(): truth_of(sample) for sample in samples}

    def infer(self, frame, settings):
        """Return the answer of a frame seen before."""
        answer = self._answers[frame.image.tobytes()]
        boxes = answer.detections
        return replace(answer, detections=Detections(
            boxes.boxes[1:], boxes.scores[1:], boxes.class_ids[1:]))


def subject_of(samples, root, folder):
    """Return what is reported on."""
    return Subject(Checkpoint(folder, CARD), Knowing(samples), root, 'test', 'evaluate squares -x')


def score(subject, samples, resamples=0):
    """Return scores and figures."""
    scores = score_frames(subject.engine.infer, samples, CARD)
    return scores, summarise(scores, CARD, resamples)


def test_report_says_how_and_shows_all(samples, root, tmp_path):
    """Command, digest, provenance, figures, classes; each picture it names is one."""
    subject = subject_of(samples, root, tmp_path / 'weights')
    scores, metrics = score(subject, samples, 5)
    path = write_report(tmp_path / 'a' / 'report', subject, samples, scores, metrics,
                        Robustness(3, metrics, {'fog': metrics}))
    text = path.read_text()
    for words in ('evaluate squares -x', 'ab' * 32, '"generator": "squares"', '4711', 'memory',
                  figures_table(metrics), classes_table(metrics), 'fog'):
        assert words in text
    pictures = {file.name for file in path.parent.iterdir()} - {'report.md'}
    assert pictures == PICTURES
    for name in pictures:
        assert f']({name})' in text
        picture = cv2.imread(str(path.parent / name))
        assert picture.shape[1] > 500
        assert picture.std() > 5


def test_report_shows_what_there_are_labels_for(samples, root, tmp_path):
    """Pictures with a class only: one matrix, no boxes, no frames to rank."""
    bare = [replace(sample, boxes=None, class_ids=None, difficult=None, mask=None)
            for sample in samples]
    subject = subject_of(samples, root, tmp_path)
    path = write_report(tmp_path / 'report', subject, bare, *score(subject, bare))
    assert {file.name for file in path.parent.iterdir()} == {
        'report.md', 'confusion_classification.png'}
    assert 'Mask' not in path.read_text()


def test_report_without_provenance_says_so(samples, root, tmp_path):
    """A user's own data need not tell where it is from."""
    subject = replace(subject_of(samples, root, tmp_path), split='another')
    path = write_report(tmp_path / 'report', subject, samples, *score(subject, samples))
    assert 'no dataset.json that tells of this split' in path.read_text()


def test_report_that_cannot_be_written_is_one_line(samples, root, tmp_path):
    """A file is in the way."""
    subject = subject_of(samples, root, tmp_path)
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='cannot be written') as error:
        write_report(tmp_path / 'file', subject, samples, *score(subject, samples))
    assert '\n' not in str(error.value)


def test_frame_value_is_one_for_truth_and_less_for_less(samples):
    """A missed box costs F1, a wrong mask IoU; an empty frame has no value."""
    sample = next(sample for sample in samples if len(sample.boxes) == 2)
    truth = truth_of(sample)
    boxes = truth.detections

    def value(**changes):
        return frame_value(score_frame(sample, replace(truth, **changes), 21), CARD)
    assert value() == 1.0
    assert value(detections=Detections(boxes.boxes[:1], boxes.scores[:1], boxes.class_ids[:1])
                 ) == pytest.approx((2 / 3 + 1) / 2)
    assert value(detections=Detections(boxes.boxes, boxes.scores * 0.2, boxes.class_ids)) == 0.5
    assert value(mask=np.zeros_like(sample.mask)) == 0.5
    empty = SimpleNamespace(
        objects=SimpleNamespace(boxes=boxes.boxes[:0], class_ids=boxes.class_ids[:0],
                                difficult=np.zeros(0, bool)),
        detections=Detections(boxes.boxes[:0], boxes.scores[:0], boxes.class_ids[:0]),
        confusion=np.diag([100] + [0] * 20))
    assert np.isnan(frame_value(empty, CARD))


def test_tables_line_up(samples, root, tmp_path):
    """All lines of a table have one length, and nothing that is missing is a number."""
    _, metrics = score(subject_of(samples, root, tmp_path), samples)
    gone = replace(metrics, top1=float('nan'))
    for table in (markdown_table([('a', 'long header'), ('long name', '1')]),
                  figures_table(gone), classes_table(metrics),
                  losses_table(Robustness(1, metrics, {'fog': metrics, 'night': gone}))):
        assert len({len(line) for line in table.splitlines()}) == 1
        assert 'nan' not in table
    rows = dict(line.strip('| ').split('|', 1) for line in classes_table(metrics).splitlines())
    assert rows['basket'.ljust(len(next(iter(rows))))].split('|')[0].strip() == '0'
