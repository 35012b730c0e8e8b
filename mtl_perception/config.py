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
"""What an operator may choose; what must match training is in the card."""

from dataclasses import dataclass
import math
import re

from mtl_perception.errors import ConfigError

ENGINES = ('auto', 'onnx', 'torch')
PRECISIONS = ('auto', 'float32', 'float16', 'bfloat16', 'int8')


def _require(condition: bool, name: str, expected: str, value) -> None:
    if not condition:
        raise ConfigError(f'{name}: expected {expected}, got {value!r}')


def _is_fraction(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and 0.0 <= value <= 1.0


@dataclass(frozen=True)
class InferenceSettings:
    """
    Choices that may change between two frames.

    :param score_threshold: detections below it are dropped, 0 to 1
    :param nms_iou_threshold: of two boxes of one class that overlap by more, the better stays
    :param max_detections: at most this many boxes a frame, 1 to 1000
    :param detection: compute boxes
    :param segmentation: compute the mask
    :param classification: compute the image class
    :raises ConfigError: if a value is out of its range
    """

    score_threshold: float = 0.3
    nms_iou_threshold: float = 0.5
    max_detections: int = 100
    detection: bool = True
    segmentation: bool = True
    classification: bool = True

    def __post_init__(self):
        """Check every range once, here."""
        _require(_is_fraction(self.score_threshold), 'score_threshold', 'a number from 0 to 1',
                 self.score_threshold)
        _require(_is_fraction(self.nms_iou_threshold), 'nms_iou_threshold',
                 'a number from 0 to 1', self.nms_iou_threshold)
        _require(isinstance(self.max_detections, int) and 1 <= self.max_detections <= 1000,
                 'max_detections', 'a whole number from 1 to 1000', self.max_detections)


@dataclass(frozen=True)
class EngineConfig:
    """
    Where and with what the network runs; fixed once the engine is built.

    :param engine: ``auto``, ``onnx`` or ``torch``
    :param device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    :param num_threads: CPU threads, 0 for all
    :param require_device: fail where the engine, device or precision cannot be had, rather than
        warn and take the next best
    :param precision: of the network's arithmetic: ``float32``, ``float16`` (TensorRT on an NVIDIA
        GPU), ``bfloat16`` and ``int8`` (a CPU), or ``auto`` for the fastest that this machine's
        CPU has instructions for, float32 on a GPU; two processes on one machine choose alike
    :raises ConfigError: if a value is none of these
    """

    engine: str = 'auto'
    device: str = 'auto'
    num_threads: int = 0
    require_device: bool = False
    precision: str = 'auto'

    def __post_init__(self):
        """Check every range once, here."""
        _require(self.engine in ENGINES, 'engine', 'one of ' + ', '.join(ENGINES), self.engine)
        _require(isinstance(self.device, str)
                 and re.fullmatch(r'auto|cpu|cuda(:\d+)?', self.device) is not None,
                 'device', 'auto, cpu, cuda or cuda:N', self.device)
        _require(isinstance(self.num_threads, int) and 0 <= self.num_threads <= 1024,
                 'num_threads', 'a whole number from 0 to 1024', self.num_threads)
        _require(self.precision in PRECISIONS, 'precision', 'one of ' + ', '.join(PRECISIONS),
                 self.precision)
