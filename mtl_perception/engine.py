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

from dataclasses import replace
from functools import lru_cache, partial
import time
from typing import Callable, Dict, List, Optional, Tuple

from mtl_perception.backends import Backend, open_backend
from mtl_perception.card import Card
from mtl_perception.checkpoint import Checkpoint
from mtl_perception.config import EngineConfig, InferenceSettings
from mtl_perception.errors import DeviceError
from mtl_perception.frame import Frame
from mtl_perception.postprocess import KEPT_SIZES, Postprocessor
from mtl_perception.prediction import Prediction
from mtl_perception.preprocess import input_shape, KeptLetterbox, Letterbox
import numpy as np


def _stages_for(card: Card, height: int, width: int) -> Tuple[KeptLetterbox, Postprocessor]:
    """Return what goes before and after the network for pictures of that size."""
    shape = input_shape(card.input.height, card.input.width, height, width)
    return (KeptLetterbox(Letterbox(*shape, card.input.pad_value), height, width),
            Postprocessor(card.with_input(*shape)))


class Engine:
    """
    One checkpoint on one back end; not for two threads at once.

    :param card: of the checkpoint
    :param backend: with the network loaded
    :param warnings: what was asked for and could not be had, or was lost since; one line each
    :param open_stand_in: opens a back end for when the device of this one is lost; None where
        that is to be an error
    """

    def __init__(self, card: Card, backend: Backend, warnings: Tuple[str, ...] = (),
                 open_stand_in: Optional[Callable[[], Backend]] = None):
        """Put the stages together."""
        self.card = card
        self.warnings = warnings
        self._backend = backend
        self._open_stand_in = open_stand_in
        self._stages_for = lru_cache(maxsize=KEPT_SIZES)(partial(_stages_for, card))

    @property
    def engine_name(self) -> str:
        """Return the back end in use: ``onnx`` or ``torch``."""
        return self._backend.name

    @property
    def device_name(self) -> str:
        """Return the device in use: ``cpu`` or ``cuda:N``."""
        return self._backend.device

    @property
    def provider(self) -> str:
        """Return the library's own name of what runs the network."""
        return self._backend.provider

    @property
    def precision(self) -> str:
        """Return that of the network's arithmetic: one of ``PRECISIONS`` but ``auto``."""
        return self._backend.precision

    def prepare(self) -> None:
        """Do now what else would keep a first frame waiting, up to a second."""
        self._backend.prepare()

    def infer(self, frame: Frame, settings: InferenceSettings = InferenceSettings()
              ) -> Prediction:
        """
        Return what the network sees in ``frame``, in its pixels.

        :param frame: any size from 1x1
        :param settings: thresholds, and which heads to read
        :raises DeviceError: if the device is lost and nothing may stand in for it
        """
        start = time.perf_counter()
        letterbox, postprocess = self._stages_for(frame.height, frame.width)
        image = letterbox(frame.image)
        preprocessed = time.perf_counter()
        tensor = self._run(image[None])[0]
        inferred = time.perf_counter()
        heads = postprocess(tensor, letterbox.transform, settings)
        end = time.perf_counter()
        return Prediction(
            heads.detections, heads.mask, heads.class_probabilities,
            {'preprocess': preprocessed - start, 'inference': inferred - preprocessed,
             'postprocess': end - inferred})

    def _run(self, images: np.ndarray) -> np.ndarray:
        try:
            return self._backend.run(images)
        except DeviceError as error:
            if self._open_stand_in is None:
                raise
            self._backend, self._open_stand_in = self._open_stand_in(), None
            self.warnings += (f'{error}; running {self.engine_name} on {self.device_name} since',)
            return self._backend.run(images)


def _candidates(config: EngineConfig) -> List[Tuple[str, str, str]]:
    """Return (engine, device, precision), best first, that satisfy the wish or stand in for it."""
    engines = ['onnx', 'torch'] if config.engine == 'auto' else [config.engine]
    wanted = {'auto': ['cuda:0', 'cpu'], 'cuda': ['cuda:0']}.get(config.device, [config.device])
    exact = [(engine, device, config.precision) for device in wanted for engine in engines]
    if config.require_device:
        return exact
    stand_ins = [(engine, device, precision)
                 for precision in dict.fromkeys([config.precision, 'auto'])
                 for device in dict.fromkeys([*wanted, 'cpu'])
                 for engine in dict.fromkeys([*engines, 'onnx', 'torch'])]
    return list(dict.fromkeys(exact + stand_ins))


def _open_best(checkpoint: Checkpoint, config: EngineConfig) -> Tuple[Backend, Tuple[str, ...]]:
    """Return the best back end that ``config`` allows, and what could not be had."""
    refusals: Dict[Tuple[str, str, str], str] = {}
    asked = f'engine {config.engine} on device {config.device}' + (
        '' if config.precision == 'auto' else f' in {config.precision}')
    for name, device, precision in _candidates(config):
        try:
            backend = open_backend(name, checkpoint, device, config.num_threads, precision)
        except DeviceError as error:
            refusals[name, device, precision] = str(error)
            continue
        is_asked = config.engine in ('auto', name) and precision == config.precision and (
            config.device == 'auto' or device == config.device
            or (config.device == 'cuda' and device == 'cuda:0'))
        if is_asked or not refusals:
            return backend, ()
        # Why not on that device; else why not on the one that was wanted first.
        reason = refusals.get((name, device, config.precision), next(iter(refusals.values())))
        return backend, (f'{asked} cannot be had, running {name} on {device} '
                         f'({backend.provider}): {reason}',)
    raise DeviceError(f'{asked} cannot be had: ' + '; '.join(dict.fromkeys(refusals.values())))


def build_engine(checkpoint: Checkpoint, config: EngineConfig = EngineConfig()) -> Engine:
    """
    Return an engine on the best back end that ``config`` allows.

    Should its GPU be lost or run out of memory later, the engine goes on with the CPU and says so
    in ``warnings``, unless ``require_device``.

    :raises DeviceError: if none can be had, or ``require_device`` and not the one asked for
    :raises CheckpointError: if the weights are altered or do not fit their card
    """
    backend, warnings = _open_best(checkpoint, config)

    def open_stand_in() -> Backend:
        return _open_best(checkpoint, replace(config, device='cpu'))[0]
    stays = backend.device == 'cpu' or config.require_device
    return Engine(checkpoint.card, backend, warnings, None if stays else open_stand_in)
