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
Which library runs an ONNX graph, and with which numbers.

By what is installed, what the weights hold and what the CPU can, never by a measurement: two
processes on one machine must answer alike to the last bit.
"""

from types import ModuleType
from typing import Optional

from mtl_perception.backends import Backend
from mtl_perception.checkpoint import Checkpoint, INT8_ONNX
from mtl_perception.errors import DeviceError


def _openvino() -> Optional[ModuleType]:
    try:
        from mtl_perception.backends import openvino_backend
    except ImportError:
        return None
    return openvino_backend if openvino_backend.capabilities() else None


def _choose(openvino: Optional[ModuleType], checkpoint: Checkpoint) -> str:
    """Return the fastest precision that costs next to nothing on this machine."""
    if openvino and openvino.gains_from('bfloat16'):
        return 'bfloat16'
    if openvino and openvino.gains_from('int8') and INT8_ONNX in checkpoint.card.files:
        return 'int8'
    return 'float32'


def open_network(checkpoint: Checkpoint, device: str, num_threads: int, precision: str) -> Backend:
    """
    Return the checkpoint's graph on ``device``.

    On a CPU in OpenVINO if that is installed; on a GPU in TensorRT for float16, else with CUDA.

    :param precision: ``auto`` or one of its values
    :raises DeviceError: if the device or the precision is not there
    :raises CheckpointError: if the graph is altered, malformed or does not fit the card
    :raises ImportError: if neither library is installed
    """
    if precision == 'float16' and device == 'cpu':
        raise DeviceError('expected an NVIDIA GPU for precision float16, got device cpu; use '
                          'bfloat16 or float32')
    openvino = _openvino() if device == 'cpu' else None
    if precision == 'auto':
        precision = _choose(openvino, checkpoint)
    if openvino:
        if precision == 'bfloat16' and 'BF16' not in openvino.capabilities():
            raise DeviceError('expected a CPU with bfloat16 for precision bfloat16, got one '
                              'without; use float32')
        return openvino.open_network(checkpoint, device, num_threads, precision)
    if precision == 'bfloat16':
        raise DeviceError(f'expected OpenVINO on a CPU for precision bfloat16, got none on '
                          f'{device}; `pip install openvino` or use float32')
    if precision == 'float16':
        from mtl_perception.backends import tensorrt_backend
        return tensorrt_backend.open_network(checkpoint, device, num_threads)
    from mtl_perception.backends import onnx_backend
    return onnx_backend.open_network(checkpoint, device, num_threads, precision)
