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
"""
Predictions as pictures: the one place for colours and drawing.

An id has the same colour everywhere and always. The first seven colours are Okabe and Ito's set
for every kind of colour vision (jfly.uni-koeln.de/color); the rest were chosen one by one, each
the farthest in OKLab from all before it as people with normal, protan and deutan vision see them
(simulated after Machado et al. 2009), so low ids differ most.
"""

from dataclasses import dataclass
from itertools import zip_longest
from typing import List, Optional, Sequence, Tuple

import cv2
from mtl_perception.card import Card
from mtl_perception.frame import Frame
from mtl_perception.prediction import BACKGROUND, Detections, Prediction, UNLABELLED
import numpy as np

_HEX = """
E69F00 56B4E9 009E73 F0E442 0072B2 D55E00 CC79A7 78FFFF 1E3CFF 87D2A5 5A87FF A53C2D B40078 A5FFB4
96D2FF D200B4 FF4B69 C3D269 69C3C3 D24BE1 4BF0D2 C34B3C B4B469 0087D2 D28700 96B496 3CA5C3 C32D69
870FD2 FFB400 D22D96 B4E1A5 5AA5FF 1E7896 E1F087 69C3FF 87D2D2 F01E5A E16987 B40F5A 1E78FF 5AB4C3
5AF0FF D2E178 874BD2 5AFFD2 2DE13C C3C387 87C3E1 C31E87 1E873C 3C96C3 FF695A A55A00 69A53C 5A96FF
00A5A5 B4A578 3C5AFF 8796E1 E11E0F FF69E1 875AC3 3C6987 3CA587 FF5AB4 B45A5A 5AA569 F09696 78E1E1
4BFF3C B45A78 69E1C3 B4C369 5A78B4 F0F069 872DE1 8778E1 C3D287 C3B44B 0069A5 D28796 0F783C F0C34B
3CB4FF FFB4B4 B4F0A5 B43CA5 B42D00 A54BE1 D2781E F0003C E196B4 A569D2 A596D2 F096D2 E11EB4 8778A5
FF4B4B 962DC3 963CA5 FF784B FF2DC3 780FF0 3C9687 6969D2 C3F0C3 2D6996 E13C69 3C7887 6978F0 FFA51E
3CC3A5 2D78E1 7878C3 D2A5A5 69D278 C30F96 0F871E 8787F0 F0E196 9687D2 B42D4B C3E100 B40069 5AD2B4
C35A4B 3C8778 96F0F0 3C78A5 E187F0 FFA5F0 961EB4 E196F0 FF00B4 78C378 B42D78 C36996 694BF0 F02DF0
3C5AC3 96B4D2 F0D296 78F069 78D2E1 FFC3C3 A54B69 A5C3F0 D27896 FF693C B43C5A FFD269 00A5B4 FF3C78
E15A5A 3CB4B4 F0871E B4E187 4BA578 1E9669 785A87 E169E1 D2C35A 78B487 3C8796 78E1FF 3CFFE1 5AA596
A5E1F0 87FFF0 D24BA5 B4D296 00E1B4 78F0E1 D2B496 A51E96 D2E1B4 69C387 0069D2 D21E4B 2DD21E B45A87
C33C2D 96FF5A F02D4B B4FFA5 4BC3B4 C3E15A 2DB44B 4BF0C3 A5A569 69E1D2 FFA578 4B96D2 E17878 E187C3
1E96F0 C3E1FF 0087C3 5AA5D2 69C35A FF69FF 3C965A F00F78 F09687 9678FF 1E960F F096C3 B4D23C E169F0
4BFFC3 FF2D69 E15A2D 0096B4 4B875A D287A5 5AE1A5 C3003C B4B4FF C3C396 3C87A5 00A5E1 C3F0D2 C3F0E1
00E1F0 8700E1 C3F078 FF4B87 5AC369 A55AFF 3C874B C3FF3C 0078F0 1E964B 3CE15A 78C3D2 78B43C FFB4A5
E1A569 C3F000 D2A55A D21E00 F0E1A5 A5D2B4 D2875A B4E196 E13CC3 D24B96 2D96A5 D2D278 3CD2F0 1E7800
A53C3C 7878D2
"""

_LUT_RGB = np.zeros((256, 1, 3), np.uint8)
_LUT_RGB[1:UNLABELLED, 0] = [tuple(bytes.fromhex(code)) for code in _HEX.split()]
_LUT_RGB[UNLABELLED] = 128
_LUT_BGR = np.ascontiguousarray(_LUT_RGB[..., ::-1])

MASK_OPACITY = 0.45
PANEL_OPACITY = 0.65
# Bands stay in the cache, and in memory that need not be asked for anew each time.
BAND_ROWS = 64
# Below this scale letters of OpenCV's font cannot be told apart.
MIN_FONT_SCALE = 0.35
# From this scale on the font with two strokes a line looks better; below they run together.
DOUBLE_STROKE_SCALE = 0.5
SHEET_BACKGROUND = 24
LEGEND_ROWS = 10

Rectangle = Tuple[int, int, int, int]


def colorize_mask(mask: np.ndarray) -> np.ndarray:
    """
    Return the picture of a mask: background black, unlabelled pixels grey.

    :param mask: uint8 ``[H, W]`` of class ids
    :return: uint8 ``[H, W, 3]``, RGB
    """
    return cv2.applyColorMap(mask, _LUT_RGB)


def class_color(class_id: int) -> Tuple[int, int, int]:
    """Return the colour of an id from 0 to 255 as B, G, R."""
    return tuple(int(value) for value in _LUT_BGR[class_id, 0])


@dataclass(frozen=True)
class _Pen:
    """
    Sizes that make lines and letters readable in a picture.

    :param line: width of a box's line, pixels
    :param font: of OpenCV
    :param font_scale: of its letters
    :param stroke: width of a letter's line, pixels
    :param padding: around a text, pixels
    """

    line: int
    font: int
    font_scale: float
    stroke: int
    padding: int

    def text_size(self, text: str) -> Tuple[int, int]:
        """Return width and height of a text with its padding."""
        (width, height), baseline = cv2.getTextSize(text, self.font, self.font_scale, self.stroke)
        return width + 2 * self.padding, height + baseline + self.padding


def _pen_for(height: int, width: int) -> _Pen:
    side = min(height, width)
    scale = max(MIN_FONT_SCALE, side / 1050)
    font = cv2.FONT_HERSHEY_DUPLEX if scale >= DOUBLE_STROKE_SCALE else cv2.FONT_HERSHEY_SIMPLEX
    return _Pen(line=max(1, round(side / 240)), font=font, font_scale=scale,
                stroke=max(1, round(scale * 1.1)), padding=max(2, round(side / 160)))


def _draw_text(picture: np.ndarray, text: str, corner: Tuple[int, int], pen: _Pen,
               color: Tuple[int, int, int]) -> None:
    left, top = corner
    (_, height), baseline = cv2.getTextSize(text, pen.font, pen.font_scale, pen.stroke)
    origin = (left + pen.padding, top + height + (pen.padding + baseline) // 2)
    cv2.putText(picture, text, origin, pen.font, pen.font_scale, color, pen.stroke,
                cv2.LINE_AA)


def _contrast_to(color: Tuple[int, int, int]) -> Tuple[int, int, int]:
    """Return black or white, whichever reads better on ``color`` (WCAG's contrast ratio)."""
    levels = np.array(color) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.0722, 0.7152, 0.2126)
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


_INK = [_contrast_to(class_color(class_id)) for class_id in range(256)]


def _draw_mask(picture: np.ndarray, mask: np.ndarray) -> None:
    margin = max(1, round(min(mask.shape) / 700))
    # Most frames are mostly background: work where there is something.
    left, top, width, height = cv2.boundingRect(mask)
    rows = slice(max(0, top - margin), top + height + margin)
    columns = slice(max(0, left - margin), left + width + margin)
    picture, mask = picture[rows, columns], mask[rows, columns]
    if not width:
        return
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    lowest = cv2.erode(mask, kernel)
    for start in range(0, len(mask), BAND_ROWS):
        band = slice(start, start + BAND_ROWS)
        colors = cv2.applyColorMap(mask[band], _LUT_BGR)
        blended = cv2.addWeighted(picture[band], 1 - MASK_OPACITY, colors, MASK_OPACITY, 0)
        cv2.copyTo(blended, mask[band], picture[band])
        # A region's rim is what is next to a lower id: one line between two regions, not two.
        cv2.copyTo(colors, cv2.compare(mask[band], lowest[band], cv2.CMP_GT), picture[band])


def _hidden(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how much of each place ``[P, 4]`` others ``[N, 4]`` take, in pixels ``[P]``."""
    low = np.maximum(places[:, None, :2], others[:, :2])
    high = np.minimum(places[:, None, 2:], others[:, 2:])
    return (high - low).clip(0).prod(axis=2).sum(axis=1)


def _place_label(box: Rectangle, size: Tuple[int, int], shape: Tuple[int, int],
                 labels: Sequence[Rectangle], boxes: np.ndarray) -> Optional[Rectangle]:
    """
    Return where the label of ``box`` goes: inside the picture, off labels, least over boxes.

    None if it would hide another label wherever it went: of many boxes in one place the best
    ones keep labels that can be read.

    :param size: width and height of the label
    :param shape: height and width of the picture
    :param labels: already placed
    :param boxes: of all labels, int ``[N, 4]``
    """
    (left, top, right, bottom), (width, height) = box, size
    corners = ((left, top - height), (right - width, top - height), (left, bottom),
               (right - width, bottom), (left, top), (left, bottom - height),
               (right, top), (left - width, top))
    inside = [(max(0, min(x, shape[1] - width)), max(0, min(y, shape[0] - height)))
              for x, y in corners]
    places = np.array([(x, y, x + width, y + height) for x, y in inside])
    free = places[_hidden(places, np.array(labels).reshape(-1, 4)) == 0]
    return tuple(free[_hidden(free, boxes).argmin()].tolist()) if len(free) else None


def _shortened(text: str, pen: _Pen, width: int) -> str:
    while len(text) > 1 and pen.text_size(text)[0] > width:
        text = text[:-1]
    return text


def _draw_detections(picture: np.ndarray, detections: Detections, card: Card, pen: _Pen,
                     labels: List[Rectangle]) -> None:
    height, width = picture.shape[:2]
    boxes = np.rint(detections.boxes).astype(int)
    class_ids = detections.class_ids.tolist()
    for (left, top, right, bottom), class_id in reversed(list(zip(boxes.tolist(), class_ids))):
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), class_color(class_id),
                      pen.line)
    for box, class_id, score in zip(boxes.tolist(), class_ids, detections.scores.tolist()):
        text = _shortened(f'{card.classes.detection[class_id - 1]} {score:.2f}', pen, width)
        place = _place_label(box, pen.text_size(text), (height, width), labels, boxes)
        if place is None:
            continue
        labels.append(place)
        cv2.rectangle(picture, place[:2], (place[2] - 1, place[3] - 1), class_color(class_id),
                      cv2.FILLED)
        _draw_text(picture, text, place[:2], pen, _INK[class_id])


def _draw_panel(picture: np.ndarray, text: str, size: Tuple[int, int], pen: _Pen) -> None:
    panel = picture[:size[1], :size[0]]
    panel[:] = cv2.convertScaleAbs(panel, alpha=1 - PANEL_OPACITY)
    _draw_text(picture, text, (0, 0), pen, (255, 255, 255))


def _panel_text(prediction: Prediction, card: Card, latency_ms: Optional[float]) -> str:
    parts = []
    if prediction.class_probabilities is not None:
        top = int(prediction.class_probabilities.argmax())
        parts.append(f'{card.classes.classification[top]} '
                     f'{prediction.class_probabilities[top]:.2f}')
    if latency_ms is not None:
        parts.append(f'{latency_ms:.0f} ms')
    return '  |  '.join(parts)


def draw_overlay(frame: Frame, prediction: Prediction, card: Card,
                 latency_ms: Optional[float] = None) -> np.ndarray:
    """
    Return the frame with mask, boxes, class and latency drawn into it.

    Lines and letters grow with the picture, labels stay inside it and off each other where there
    is room. A head that was switched off leaves nothing.

    :param frame: what was looked at; not changed
    :param prediction: what was seen in it
    :param card: of the weights that saw it
    :param latency_ms: shown beside the class if given
    :return: uint8 ``[H, W, 3]``, BGR
    """
    picture = frame.image.copy()
    pen = _pen_for(frame.height, frame.width)
    if prediction.mask is not None:
        _draw_mask(picture, prediction.mask)
    text = _shortened(_panel_text(prediction, card, latency_ms), pen, frame.width)
    panel = pen.text_size(text) if text else (0, 0)
    if prediction.detections is not None:
        _draw_detections(picture, prediction.detections, card, pen, [(0, 0, *panel)])
    if text:
        _draw_panel(picture, text, panel, pen)
    return picture


def draw_legend(card: Card) -> np.ndarray:
    """
    Return a picture of the classes' names, each on its colour in overlay and mask.

    :param card: of the weights; where boxes and mask have different names for an id, both stand
    :return: uint8 ``[H, W, 3]``, BGR
    """
    pen = _pen_for(720, 1280)
    names = zip_longest(card.classes.detection, card.classes.segmentation[1:])
    texts = [' / '.join(dict.fromkeys(filter(None, pair))) for pair in names]
    sizes = [pen.text_size(text) for text in texts]
    width, height = (max(size[side] for size in sizes) + pen.padding for side in (0, 1))
    rows = min(LEGEND_ROWS, len(texts))
    picture = np.full((rows * height, -(-len(texts) // rows) * width, 3), SHEET_BACKGROUND,
                      np.uint8)
    for index, text in enumerate(texts):
        column, row = divmod(index, rows)
        left, top = column * width, row * height
        cell = picture[top:top + height - pen.padding, left:left + width - pen.padding]
        cell[:] = class_color(index + 1)
        _draw_text(cell, text, (0, 0), pen, _INK[index + 1])
    return picture


def mask_share(mask: np.ndarray) -> float:
    """Return which part of a uint8 mask ``[H, W]`` is an object, 0 to 1."""
    counts = cv2.calcHist([mask], [0], None, [256], [0, 256])[:, 0]
    return float(1.0 - (counts[BACKGROUND] + counts[UNLABELLED]) / mask.size)


def contact_sheet(pictures: Sequence[np.ndarray], columns: int = 4, cell_width: int = 480,
                  gap: int = 6) -> np.ndarray:
    """
    Return pictures side by side on a dark ground, row by row.

    All cells have the first picture's proportions; one of others is fitted into its cell.

    :param pictures: at least one, each uint8 ``[H, W, 3]``, BGR
    :param columns: cells of a row, at least 1
    :param cell_width: of a cell, pixels
    :param gap: between cells and around them, pixels
    :raises ValueError: if there are no pictures
    """
    if not pictures:
        raise ValueError('expected at least one picture, got none')
    columns = min(columns, len(pictures))
    cell_height = max(1, round(cell_width * pictures[0].shape[0] / pictures[0].shape[1]))
    rows = -(-len(pictures) // columns)
    sheet = np.full((gap + rows * (cell_height + gap), gap + columns * (cell_width + gap), 3),
                    SHEET_BACKGROUND, np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        scale = min(cell_width / picture.shape[1], cell_height / picture.shape[0])
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        cell = cv2.resize(picture, size,
                          interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        left = gap + column * (cell_width + gap) + (cell_width - size[0]) // 2
        top = gap + row * (cell_height + gap) + (cell_height - size[1]) // 2
        sheet[top:top + size[1], left:left + size[0]] = cell
    return sheet
