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

from contextlib import redirect_stdout
from io import StringIO
import os
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Tuple

from mtl_perception.backends import device_lost
from mtl_perception.backends.common_shapes import common_shapes
from mtl_perception.backends.graph_checks import (
    graph_bytes, graph_path, not_loadable, require_signature, Signature, try_out)
from mtl_perception.checkpoint import Checkpoint
from mtl_perception.errors import DeviceError
import numpy as np
import onnxruntime

# Warnings about a graph's initialisers are of no use to an operator.
ERRORS_ONLY = 3
CPU, CUDA, TENSORRT = 'CPUExecutionProvider', 'CUDAExecutionProvider', 'TensorrtExecutionProvider'
PROVIDER_OPTIONS: Mapping[str, Mapping[str, Any]] = {TENSORRT: {'trt_fp16_enable': True}}
ELEMENTS = {'tensor(uint8)': 'uint8', 'tensor(float)': 'float32'}

Providers = List[Tuple[str, Dict[str, Any]]]


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


def gpu_providers(device: str, *names: str) -> Providers:
    """
    Return ONNX Runtime's providers for a GPU, and the CPU's for what they leave.

    :param device: ``cuda:N``
    :param names: the best one first
    :raises DeviceError: if the runtime was built without one of them
    """
    available = onnxruntime.get_available_providers()
    if not set(names) <= set(available):
        raise DeviceError(f'expected ONNX Runtime with {" and ".join(names)} for device {device}, '
                          f'got {available}; install onnxruntime-gpu or use cpu')
    if hasattr(onnxruntime, 'preload_dlls'):  # since 1.21
        # CUDA as pip installs it, beside PyTorch say: the runtime itself looks in the system only.
        with redirect_stdout(StringIO()):
            onnxruntime.preload_dlls()
    index = device.split(':')[1]
    return [*((name, {'device_id': index, **PROVIDER_OPTIONS.get(name, {})}) for name in names),
            (CPU, {})]


def _signature(session: onnxruntime.InferenceSession) -> Signature:
    return {value.name: (ELEMENTS.get(value.type, value.type),
                         [size if isinstance(size, int) else None for size in value.shape])
            for value in [*session.get_inputs(), *session.get_outputs()]}


def open_session(path: Path, content: bytes, providers: Providers, num_threads: int,
                 sizes: Mapping[str, int] = MappingProxyType({})) -> onnxruntime.InferenceSession:
    """
    Return a graph, loaded.

    :param path: of its file, for errors
    :param content: of that file
    :param providers: with their options, the best one first; it must be had
    :param num_threads: CPU threads, 0 for all
    :param sizes: of its dimensions by name, where they are to be fixed
    :raises DeviceError: if the first provider cannot be had
    :raises CheckpointError: if the runtime takes the graph on no device
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = num_threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    # A spinning pool takes the cores that decoding and DDS need.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    wanted = providers[0][0]
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers,
                                               enable_fallback=0)
        found = session.get_providers()[0]
    except Exception as error:  # the runtime's exceptions share no base class
        if wanted == CPU:
            raise not_loadable(path, 'ONNX Runtime', error) from None
        # Whose fault is it? If the graph's, this says so.
        open_session(path, content, [(CPU, {})], num_threads)
        found = ' '.join(str(error).split())[:200]
    if found != wanted:
        raise DeviceError(f'expected {wanted} of ONNX Runtime, got {found}; check its libraries '
                          'and the GPU with nvidia-smi, or use cpu')
    return session


def open_network(checkpoint: Checkpoint, device: str, num_threads: int,
                 precision: str = 'float32') -> OnnxBackend:
    """
    Return the checkpoint's graph, loaded on ``device``.

    :param precision: ``float32``, or ``int8`` on a CPU
    :raises DeviceError: if the device or the graph of that precision is not there
    :raises CheckpointError: if the graph is altered, malformed or does not fit the card
    """
    providers = [(CPU, {})] if device == 'cpu' else gpu_providers(device, CUDA)
    if device != 'cpu' and precision != 'float32':
        raise DeviceError(f'expected precision float32 or float16 on {device}, got {precision}; '
                          'use cpu')
    path, content = graph_path(checkpoint, precision), graph_bytes(checkpoint, precision)
    session = open_session(path, content, providers, num_threads)
    require_signature(_signature(session), checkpoint, path)
    backend = OnnxBackend(session, device, precision)
    try_out(backend, checkpoint, path, common_shapes(checkpoint.card)[0])
    return backend
