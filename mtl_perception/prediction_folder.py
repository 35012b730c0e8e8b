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
"""A folder of predictions: overlays and masks as PNG, boxes as COCO JSON, a contact sheet."""

import json
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

import cv2
from mtl_perception.card import Card
from mtl_perception.data.named_frames import NamedFrame
from mtl_perception.errors import ConfigError
from mtl_perception.overlay import contact_sheet, draw_overlay
from mtl_perception.prediction import Prediction
import numpy as np

OVERLAYS = 'overlays'
MASKS = 'masks'
DETECTIONS = 'detections.json'
SHEET = 'contact_sheet.jpg'
SHEET_CELLS = 24
CELL_WIDTH = 480


class _Video:
    """The overlays of a video as a video, in MPEG-4, which OpenCV's wheels can write."""

    def __init__(self, path: Path):
        self._path = path
        self._first: Optional[tuple] = None
        self._writer: Optional[cv2.VideoWriter] = None

    def add(self, picture: np.ndarray, stamp_ns: int) -> None:
        """Append a picture; the rate is what the first two stamps say."""
        if self._writer is None and self._first is None:
            self._first = picture, stamp_ns
            return
        if self._writer is None:
            first, start_ns = self._first
            self._writer = cv2.VideoWriter(
                str(self._path), cv2.VideoWriter_fourcc(*'mp4v'), 1e9 / (stamp_ns - start_ns),
                first.shape[1::-1])
            self._writer.write(first)
        self._writer.write(picture)

    def close(self) -> None:
        """Make the file whole; a single picture is no video."""
        if self._writer is not None:
            self._writer.release()


class _Sheet:
    """Some pictures, evenly spread over all that come by."""

    def __init__(self):
        self._cells: List[np.ndarray] = []
        self._count = 0
        self._stride = 1

    def add(self, picture: np.ndarray) -> None:
        if self._count % self._stride == 0:
            height = max(1, round(picture.shape[0] * CELL_WIDTH / picture.shape[1]))
            self._cells.append(cv2.resize(picture, (CELL_WIDTH, height),
                                          interpolation=cv2.INTER_AREA))
            if len(self._cells) > SHEET_CELLS:
                self._cells = self._cells[::2]
                self._stride *= 2
        self._count += 1

    def draw(self) -> np.ndarray:
        return contact_sheet(self._cells, cell_width=CELL_WIDTH)


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
        self._video: Optional[_Video] = None
        self._sheet = _Sheet()
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

    def add(self, item: NamedFrame, prediction: Prediction) -> None:
        """
        Write overlay and mask, remember the rest.

        :param item: what was looked at; of a second one of its name, files have a number
        :param prediction: with detections, mask and class
        :raises ConfigError: if a file cannot be written
        """
        name, frame = self._unique(item.name), item.frame
        card, probabilities = self._card, prediction.class_probabilities
        top = int(probabilities.argmax())
        overlay = draw_overlay(frame, prediction, card)
        self._write(f'{OVERLAYS}/{name}.png', overlay)
        self._write(f'{MASKS}/{name}.png', prediction.mask)
        self._sheet.add(overlay)
        if item.video:
            if not frame.stamp_ns:
                self._end_video()
                self._video = _Video(self.path / OVERLAYS / f'{self._unique(item.video)}.mp4')
            self._video.add(overlay, frame.stamp_ns)
        image_id = len(self._images) + 1
        self._images.append({
            'id': image_id, 'file_name': f'{name}{item.suffix}', 'width': frame.width,
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

    def _end_video(self) -> None:
        if self._video:
            self._video.close()
            self._video = None

    def _write(self, name: str, picture: np.ndarray) -> None:
        content = cv2.imencode(Path(name).suffix, picture)[1].tobytes()
        self._write_bytes(name, content)

    def _write_bytes(self, name: str, content: bytes) -> None:
        path = self.path / name
        partial = path.with_name(f'{path.name}.partial')
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            os.replace(partial, path)
        except OSError as error:
            raise ConfigError(f'{path}: cannot be written: {error.strerror}') from None

    def finish(self) -> None:
        """
        Write the boxes of all pictures in COCO's layout, and the contact sheet.

        :raises ConfigError: if a file cannot be written
        """
        self._end_video()
        document = {
            'images': self._images, 'annotations': self._annotations,
            'categories': [{'id': class_id, 'name': name} for class_id, name
                           in enumerate(self._card.classes.detection, 1)]}
        self._write_bytes(DETECTIONS, (json.dumps(document, indent=1) + '\n').encode())
        self._write(SHEET, self._sheet.draw())
