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
from mtl_perception.checkpoint import Checkpoint, ONNX, verified_bytes
from mtl_perception.errors import CheckpointError, DeviceError
from mtl_perception.onnx_graph import check_straight
import numpy as np
import onnxruntime

# Warnings about a graph's initialisers are of no use to an operator.
ERRORS_ONLY = 3


class OnnxBackend:
    """A verified graph in an ONNX Runtime session."""

    name = 'onnx'

    def __init__(self, session: onnxruntime.InferenceSession, device: str):
        """Take a session that runs on ``device``."""
        self.device = device
        self._session = session
        # The runtime would turn to the CPU by itself, and print that only.
        session.disable_fallback()

    @property
    def provider(self) -> str:
        """Return the execution provider in use, such as ``CPUExecutionProvider``."""
        return self._session.get_providers()[0]

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


def _check_signature(session: onnxruntime.InferenceSession, checkpoint: Checkpoint) -> None:
    expected = {'image': ('tensor(uint8)', [1, 'height', 'width', 3]),
                'prediction': ('tensor(float)', [1, checkpoint.card.layout.channels, 'cells'])}
    found = {value.name: (value.type, list(value.shape))
             for value in [*session.get_inputs(), *session.get_outputs()]}
    if found != expected:
        raise CheckpointError(
            f'{checkpoint.onnx_path}: expected {expected} from its card, got {found}; '
            'export the weights again')


def _try_out(backend: OnnxBackend, checkpoint: Checkpoint) -> None:
    """Look at a blank picture: what a graph declares need not be what it does."""
    card = checkpoint.card
    blank = np.zeros((1, card.input.height, card.input.width, 3), np.uint8)
    expected = 1, card.layout.channels, card.cells
    try:
        found = backend.run(blank).shape
    except DeviceError:
        raise
    except Exception as error:  # the runtime's exceptions share no base class
        found = ' '.join(str(error).split())[:200]
    if found != expected:
        raise CheckpointError(f'{checkpoint.onnx_path}: expected a prediction of shape {expected} '
                              f'from a blank picture, got {found}; export the weights again')


def open_network(checkpoint: Checkpoint, device: str, num_threads: int) -> OnnxBackend:
    """
    Return the checkpoint's graph, loaded on ``device``.

    :raises DeviceError: if the device is not there
    :raises CheckpointError: if the graph is altered, malformed or does not fit the card
    """
    providers = _providers(device)
    content = verified_bytes(checkpoint, ONNX)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = num_threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    # A spinning pool takes the cores that decoding and DDS need.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    try:
        check_straight(content)
        session = onnxruntime.InferenceSession(content, options, providers=providers,
                                               enable_fallback=0)
    except Exception as error:  # the runtime's exceptions share no base class
        reason = ' '.join(str(error).split())[:200]
        raise CheckpointError(
            f'{checkpoint.onnx_path}: expected a graph that ONNX Runtime loads, got: {reason}; '
            'export the weights again') from None
    if device != 'cpu' and session.get_providers()[0] != 'CUDAExecutionProvider':
        raise DeviceError(
            f'expected ONNX Runtime on {device}, got {session.get_providers()[0]}; '
            'check the driver and that GPU, or use cpu')
    _check_signature(session, checkpoint)
    backend = OnnxBackend(session, device)
    _try_out(backend, checkpoint)
    return backend
