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
"""ONNX Runtime on a CPU or an NVIDIA GPU."""

import os

from mtl_perception.backends import device_lost
from mtl_perception.backends.graph_checks import (
    graph_bytes, graph_path, not_loadable, require_signature, Signature, try_out)
from mtl_perception.checkpoint import Checkpoint
from mtl_perception.errors import DeviceError
import numpy as np
import onnxruntime

# Warnings about a graph's initialisers are of no use to an operator.
ERRORS_ONLY = 3
ELEMENTS = {'tensor(uint8)': 'uint8', 'tensor(float)': 'float32'}


class OnnxBackend:
    """A verified graph in an ONNX Runtime session."""

    name = 'onnx'

    def __init__(self, session: onnxruntime.InferenceSession, device: str,
                 precision: str = 'float32'):
        """Take a session that runs on ``device``."""
        self.device = device
        self.precision = precision
        self._session = session
        # The runtime would turn to the CPU by itself, and print that only.
        session.disable_fallback()

    @property
    def provider(self) -> str:
        """Return the execution provider in use, such as ``CPUExecutionProvider``."""
        provider = self._session.get_providers()[0]
        return provider if self.precision == 'float32' else f'{provider} {self.precision}'

    def prepare(self) -> None:
        """Nothing is left to do."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return float32 ``[B, C, N]`` for uint8 ``[B, H, W, 3]``."""
        try:
            return self._session.run(['prediction'], {'image': images})[0]
        except Exception as error:  # the runtime's exceptions share no base class
            if self.device == 'cpu':
                raise
            raise device_lost(self, error) from error


def _providers(device: str) -> list:
    if device == 'cpu':
        return ['CPUExecutionProvider']
    if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
        raise DeviceError(
            f'expected ONNX Runtime with CUDA for device {device}, got '
            f'{onnxruntime.get_available_providers()}; install onnxruntime-gpu or use cpu')
    index = int(device.split(':')[1])
    return [('CUDAExecutionProvider', {'device_id': index}), 'CPUExecutionProvider']


def _signature(session: onnxruntime.InferenceSession) -> Signature:
    return {value.name: (ELEMENTS.get(value.type, value.type),
                         [size if isinstance(size, int) else None for size in value.shape])
            for value in [*session.get_inputs(), *session.get_outputs()]}


def open_network(checkpoint: Checkpoint, device: str, num_threads: int,
                 precision: str = 'float32') -> OnnxBackend:
    """
    Return the checkpoint's graph, loaded on ``device``.

    :param precision: ``float32``, or ``int8`` on a CPU
    :raises DeviceError: if the device or the graph of that precision is not there
    :raises CheckpointError: if the graph is altered, malformed or does not fit the card
    """
    providers = _providers(device)
    if device != 'cpu' and precision != 'float32':
        raise DeviceError(f'expected precision float32 on {device}, got {precision}; use cpu')
    path, content = graph_path(checkpoint, precision), graph_bytes(checkpoint, precision)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = num_threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    # A spinning pool takes the cores that decoding and DDS need.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers,
                                               enable_fallback=0)
    except Exception as error:  # the runtime's exceptions share no base class
        raise not_loadable(path, 'ONNX Runtime', error) from None
    if device != 'cpu' and session.get_providers()[0] != 'CUDAExecutionProvider':
        raise DeviceError(
            f'expected ONNX Runtime on {device}, got {session.get_providers()[0]}; '
            'check the driver and that GPU, or use cpu')
    require_signature(_signature(session), checkpoint, path)
    backend = OnnxBackend(session, device, precision)
    try_out(backend, checkpoint, path)
    return backend
