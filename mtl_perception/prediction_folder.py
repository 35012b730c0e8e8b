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
"""A folder of predictions: overlays and masks as PNG, boxes and classes as COCO JSON."""

import json
import os
from pathlib import Path
from typing import Any, Dict, List, Set

import cv2
from mtl_perception.card import Card
from mtl_perception.errors import ConfigError
from mtl_perception.frame import Frame
from mtl_perception.overlay import draw_overlay
from mtl_perception.prediction import Prediction
import numpy as np

OVERLAYS = 'overlays'
MASKS = 'masks'
DETECTIONS = 'detections.json'


class PredictionFolder:
    """
    Collects predictions; ``finish`` writes the list of boxes.

    :param path: of a folder that is empty or not there yet
    :param card: of the weights that predict
    :raises ConfigError: if the folder holds something
    """

    def __init__(self, path: Path, card: Card):
        """Check the folder; it is made when there is something to put in."""
        self.path = path
        self._card = card
        self._names: Set[str] = set()
        self._images: List[Dict[str, Any]] = []
        self._annotations: List[Dict[str, Any]] = []
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f'{path}: expected a new name or an empty folder, got one with '
                              'content; remove it or choose another')

    def _unique(self, name: str) -> str:
        count, unique = 1, name
        while unique in self._names:
            count += 1
            unique = f'{name}_{count}'
        self._names.add(unique)
        return unique

    def add(self, name: str, frame: Frame, prediction: Prediction) -> None:
        """
        Write overlay and mask, remember the rest.

        :param name: of the files without suffix; of a second one of that name, with a number
        :param frame: what was looked at
        :param prediction: with detections, mask and class
        :raises ConfigError: if a file cannot be written
        """
        name = self._unique(name)
        card, probabilities = self._card, prediction.class_probabilities
        top = int(probabilities.argmax())
        self._write(f'{OVERLAYS}/{name}.png', draw_overlay(frame, prediction, card))
        self._write(f'{MASKS}/{name}.png', prediction.mask)
        image_id = len(self._images) + 1
        self._images.append({
            'id': image_id, 'file_name': f'{name}.png', 'width': frame.width,
            'height': frame.height, 'class': card.classes.classification[top],
            'class_score': round(float(probabilities[top]), 4)})
        detections = prediction.detections
        for (left, top, right, bottom), score, class_id in zip(
                detections.boxes.tolist(), detections.scores.tolist(),
                detections.class_ids.tolist()):
            width, height = right - left, bottom - top
            self._annotations.append({
                'id': len(self._annotations) + 1, 'image_id': image_id, 'category_id': class_id,
                'bbox': [round(value, 2) for value in (left, top, width, height)],
                'area': round(width * height, 2), 'iscrowd': 0, 'score': round(score, 4)})

    def _write(self, name: str, picture: np.ndarray) -> None:
        try:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_bytes(cv2.imencode('.png', picture)[1])
        except OSError as error:
            raise ConfigError(f'{self.path / name}: cannot be written: {error.strerror}') from None

    def finish(self) -> None:
        """Write the boxes of all pictures in COCO's layout."""
        document = {
            'images': self._images, 'annotations': self._annotations,
            'categories': [{'id': class_id, 'name': name} for class_id, name
                           in enumerate(self._card.classes.detection, 1)]}
        partial = self.path / f'{DETECTIONS}.partial'
        partial.write_text(json.dumps(document, indent=1) + '\n')
        os.replace(partial, self.path / DETECTIONS)
