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
"""What runs the network: a table of back ends, each imported when it is chosen."""

import importlib
import os
from typing import Protocol

from mtl_perception.checkpoint import Checkpoint
from mtl_perception.errors import DeviceError
import numpy as np

BACKENDS = {
    'onnx': 'mtl_perception.backends.onnx_provider',
    'torch': 'mtl_perception.backends.torch_backend',
}


# A desktop or server driver, a Jetson, WSL. Looking here costs nothing, asking a library would
# load gigabytes of it on a robot that has no GPU.
NVIDIA_DEVICES = ('/dev/nvidiactl', '/dev/nvhost-gpu', '/dev/nvgpu', '/dev/dxg')


class Backend(Protocol):
    """
    A network on a device.

    ``name`` is a key of ``BACKENDS``, ``device`` is where it really runs: ``cpu`` or ``cuda:N``,
    ``provider`` the library's own name of that; ``precision`` is that of its arithmetic.
    """

    name: str
    device: str
    provider: str
    precision: str

    def prepare(self) -> None:
        """Do now what else would keep a first picture waiting."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """
        Return the prediction tensor, valid until the next run: copy what is to be kept.

        :param images: uint8 ``[B, H, W, 3]``, RGB, of the card's size
        :return: float32 ``[B, C, N]``
        :raises DeviceError: if the GPU is lost or out of memory
        """


def device_lost(backend: Backend, error: Exception) -> DeviceError:
    """Return the error of a GPU that gives no answer any more, in one line."""
    reason = ' '.join(str(error).split())[:200]
    return DeviceError(f'{backend.device} is lost to engine {backend.name}: {reason}; '
                       'check it with nvidia-smi')


def open_backend(name: str, checkpoint: Checkpoint, device: str, num_threads: int,
                 precision: str = 'auto') -> Backend:
    """
    Return a back end with the checkpoint's network loaded.

    :param name: a key of ``BACKENDS``
    :param device: ``cpu`` or ``cuda:N``
    :param num_threads: CPU threads, 0 for all
    :param precision: ``auto``, ``float32``, ``float16``, ``bfloat16`` or ``int8``
    :raises DeviceError: if its library is not installed, or the device or precision not there
    :raises CheckpointError: if the checkpoint is altered or does not fit its card
    """
    if device.startswith('cuda') and not any(os.path.exists(path) for path in NVIDIA_DEVICES):
        raise DeviceError(f'expected an NVIDIA GPU for device {device}, got none on this machine; '
                          'check the driver with nvidia-smi, or use cpu')
    if name == 'torch' and precision not in ('auto', 'float32'):
        raise DeviceError(f'expected precision float32 for engine torch, got {precision}; '
                          'use engine onnx')
    try:
        module = importlib.import_module(BACKENDS[name])
        return module.open_network(checkpoint, device, num_threads, precision)
    except ImportError as error:
        raise DeviceError(
            f'expected an installed library for engine {name}, got: {error}; '
            + ('run `make setup-train`' if name == 'torch' else 'run `make setup`')) from None
