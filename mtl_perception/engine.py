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
"""From a frame to a prediction: preprocess, run, postprocess."""

import time
from typing import Dict, List, Tuple

from mtl_perception.backends import Backend, open_backend
from mtl_perception.card import Card
from mtl_perception.checkpoint import Checkpoint
from mtl_perception.config import EngineConfig, InferenceSettings
from mtl_perception.errors import DeviceError
from mtl_perception.frame import Frame
from mtl_perception.postprocess import Postprocessor
from mtl_perception.prediction import Prediction
from mtl_perception.preprocess import input_shape, Letterbox


class Engine:
    """
    One checkpoint on one back end; not for two threads at once.

    :param card: of the checkpoint
    :param backend: with the network loaded
    :param warnings: what was asked for and could not be had, one line each
    """

    def __init__(self, card: Card, backend: Backend, warnings: Tuple[str, ...] = ()):
        """Put the stages together."""
        self.card = card
        self.warnings = warnings
        self._backend = backend
        self._stages: Dict[Tuple[int, int], Tuple[Letterbox, Postprocessor]] = {}

    @property
    def engine_name(self) -> str:
        """Return the back end in use: ``onnx`` or ``torch``."""
        return self._backend.name

    @property
    def device_name(self) -> str:
        """Return the device in use: ``cpu`` or ``cuda:N``."""
        return self._backend.device

    def _stages_for(self, frame: Frame) -> Tuple[Letterbox, Postprocessor]:
        """Return what goes before and after the network for a picture of that size."""
        size = self.card.input
        shape = input_shape(size.height, size.width, frame.height, frame.width)
        if shape not in self._stages:
            self._stages[shape] = (Letterbox(*shape, size.pad_value),
                                   Postprocessor(self.card.with_input(*shape)))
        return self._stages[shape]

    def infer(self, frame: Frame, settings: InferenceSettings = InferenceSettings()
              ) -> Prediction:
        """
        Return what the network sees in ``frame``, in its pixels.

        :param frame: any size from 1x1
        :param settings: thresholds, and which heads to read
        """
        start = time.perf_counter()
        letterbox, postprocess = self._stages_for(frame)
        image, transform = letterbox(frame.image)
        preprocessed = time.perf_counter()
        tensor = self._backend.run(image[None])[0]
        inferred = time.perf_counter()
        heads = postprocess(tensor, transform, settings)
        end = time.perf_counter()
        return Prediction(
            heads.detections, heads.mask, heads.class_probabilities,
            {'preprocess': preprocessed - start, 'inference': inferred - preprocessed,
             'postprocess': end - inferred})


def _candidates(config: EngineConfig) -> List[Tuple[str, str]]:
    """Return (engine, device) pairs, best first, that satisfy the wish or stand in for it."""
    engines = ['onnx', 'torch'] if config.engine == 'auto' else [config.engine]
    wanted = {'auto': ['cuda:0', 'cpu'], 'cuda': ['cuda:0']}.get(config.device, [config.device])
    exact = [(engine, device) for device in wanted for engine in engines]
    if config.require_device:
        return exact
    stand_ins = [(engine, device) for device in dict.fromkeys([*wanted, 'cpu'])
                 for engine in dict.fromkeys([*engines, 'onnx', 'torch'])]
    return list(dict.fromkeys(exact + stand_ins))


def build_engine(checkpoint: Checkpoint, config: EngineConfig = EngineConfig()) -> Engine:
    """
    Return an engine on the best back end that ``config`` allows.

    :raises DeviceError: if none can be had, or ``require_device`` and not the one asked for
    :raises CheckpointError: if the weights are altered or do not fit their card
    """
    refusals = []
    for name, device in _candidates(config):
        try:
            backend = open_backend(name, checkpoint, device, config.num_threads)
        except DeviceError as error:
            refusals.append((name, device, str(error)))
            continue
        asked = config.engine in ('auto', name) and (
            config.device == 'auto' or device == config.device
            or (config.device == 'cuda' and device == 'cuda:0'))
        warnings = () if asked else tuple(
            f'engine {config.engine} on device {config.device} cannot be had, '
            f'running {name} on {device}: {reason}'
            for engine, _, reason in refusals[:1])
        return Engine(checkpoint.card, backend, warnings)
    raise DeviceError(
        f'engine {config.engine} on device {config.device} cannot be had: '
        + '; '.join(dict.fromkeys(reason for _, _, reason in refusals)))
