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
"""PyTorch, on the device it is given."""

from typing import Dict, Sequence

from mtl_perception.backends import device_lost
from mtl_perception.backends.common_shapes import common_shapes, Shape
from mtl_perception.backends.cuda_graph import CudaGraph
from mtl_perception.checkpoint import Checkpoint, SAFETENSORS, verified_bytes
from mtl_perception.errors import CheckpointError, DeviceError
from mtl_perception.network import build_network
from mtl_perception.network.deploy import DeployNetwork
import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load
import torch


class TorchBackend:
    """
    A network in evaluation mode.

    On a GPU it is recorded for each common shape of picture, if that succeeds, and launched kernel
    by kernel for all others.
    """

    name = 'torch'
    precision = 'float32'

    def __init__(self, network: torch.nn.Module, device: str, common: Sequence[Shape] = ()):
        """
        Take a network that lies on ``device``.

        :param common: shapes ``[1, H, W, 3]`` that are worth a recording
        """
        self.device = device
        self.provider = 'PyTorch'
        self._network = network
        self._common = common
        self._recorded: Dict[Shape, CudaGraph] = {}

    @torch.inference_mode()
    def prepare(self) -> None:
        """Record for the common shapes on a GPU; what became of it is told by ``provider``."""
        if self.device == 'cpu':
            return
        try:
            self._recorded = {shape: CudaGraph(self._network, shape, self.device)
                              for shape in self._common}
            self.provider = 'PyTorch with CUDA graphs'
        except Exception as error:  # it is faster with them, and no worse without
            reason = ' '.join(str(error).split())[:200]
            self.provider = f'PyTorch without CUDA graphs ({reason})'

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> np.ndarray:
        """Return float32 ``[B, C, N]`` for uint8 ``[B, H, W, 3]``."""
        try:
            batch = torch.from_numpy(images)
            if images.shape in self._recorded:
                return self._recorded[images.shape](batch).cpu().numpy()
            return self._network(batch.to(self.device)).cpu().numpy()
        except RuntimeError as error:  # torch's for a lost GPU and for its full memory
            if self.device == 'cpu':
                raise
            raise device_lost(self, error) from error


def load_network(checkpoint: Checkpoint) -> torch.nn.Module:
    """
    Return the checkpoint's network on the CPU, in evaluation mode.

    :raises CheckpointError: if the parameters are altered or do not fit the card
    """
    try:
        network = build_network(checkpoint.card)
        network.load_state_dict(load(verified_bytes(checkpoint, SAFETENSORS)))
    except (RuntimeError, SafetensorError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise CheckpointError(
            f'{checkpoint.safetensors_path}: expected the parameters of '
            f'{checkpoint.card.architecture.name}, got: {reason}') from None
    return network.eval()


def open_network(checkpoint: Checkpoint, device: str, num_threads: int, precision: str
                 ) -> TorchBackend:
    """
    Return the checkpoint's network, loaded on ``device``.

    :param precision: ``auto`` or ``float32``, which are the same here
    :raises DeviceError: if the device is not there
    :raises CheckpointError: if the parameters are altered or do not fit the card
    """
    if device.startswith('cuda'):
        index = int(device.split(':')[1])
        if index >= torch.cuda.device_count():
            raise DeviceError(
                f'expected {device}, got {torch.cuda.device_count()} CUDA devices; '
                'use cpu or one that nvidia-smi lists')
    if num_threads:
        torch.set_num_threads(num_threads)
    image_input = checkpoint.card.input
    network = DeployNetwork(load_network(checkpoint), image_input.mean, image_input.std)
    try:
        return TorchBackend(network.eval().to(device), device, common_shapes(checkpoint.card))
    except RuntimeError as error:  # a GPU without room
        raise DeviceError(f'expected room for the network on {device}, got: '
                          f'{" ".join(str(error).split())[:200]}; see nvidia-smi') from error
