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
"""TensorRT on an NVIDIA GPU, through ONNX Runtime: the same graph in half precision."""

from typing import Mapping

from mtl_perception.backends import onnx_backend
from mtl_perception.backends.common_shapes import common_shapes, Shape
from mtl_perception.backends.graph_checks import graph_bytes, graph_path, try_out
from mtl_perception.checkpoint import Checkpoint
import numpy as np


class TensorRtBackend:
    """
    A TensorRT engine for each common shape of picture, and CUDA in float32 for all others.

    TensorRT builds an engine for fixed shapes within tens of seconds: when the node is configured,
    never while a picture waits.
    """

    name = 'onnx'
    precision = 'float16'
    provider = f'{onnx_backend.TENSORRT} float16'

    def __init__(self, engines: Mapping[Shape, onnx_backend.OnnxBackend],
                 others: onnx_backend.OnnxBackend):
        """
        Take what has been built.

        :param engines: by the shape ``[1, H, W, 3]`` of their pictures
        :param others: for pictures of any other shape
        """
        self.device = others.device
        self._engines = engines
        self._others = others

    def prepare(self) -> None:
        """Nothing is left to do."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return float32 ``[1, C, N]`` for uint8 ``[1, H, W, 3]``."""
        return self._engines.get(images.shape, self._others).run(images)


def open_network(checkpoint: Checkpoint, device: str, num_threads: int) -> TensorRtBackend:
    """
    Return the checkpoint's graph, built for ``device``.

    :raises DeviceError: if the GPU or TensorRT is not there, or does not take the graph
    :raises CheckpointError: if the graph is altered, malformed or does not fit the card
    """
    providers = onnx_backend.gpu_providers(device, onnx_backend.TENSORRT, onnx_backend.CUDA)
    others = onnx_backend.open_network(checkpoint, device, num_threads)
    path, content = graph_path(checkpoint, 'float32'), graph_bytes(checkpoint, 'float32')
    engines = {}
    for shape in common_shapes(checkpoint.card):
        session = onnx_backend.open_session(path, content, providers, num_threads,
                                            {'height': shape[1], 'width': shape[2]})
        engines[shape] = onnx_backend.OnnxBackend(session, device, 'float16')
        try_out(engines[shape], checkpoint, path, shape)
    return TensorRtBackend(engines, others)
