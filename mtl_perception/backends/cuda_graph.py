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
"""A network's kernels on an NVIDIA GPU, recorded once and launched all together."""

from typing import Callable

from mtl_perception.backends.common_shapes import Shape
import torch

# Libraries choose their kernels and take their memory in the first runs, which is not recorded.
WARM_UP_RUNS = 3
TOLERANCE = 1e-3

Network = Callable[[torch.Tensor], torch.Tensor]


class CudaGraph:
    """
    A network on pictures of one shape.

    The hundred kernels of a small network take longer to launch one by one than to run
    (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
    """

    def __init__(self, network: Network, shape: Shape, device: str):
        """
        Record.

        :param network: from uint8 pictures to a prediction, on ``device``
        :param shape: ``[B, H, W, 3]`` of the pictures
        :param device: ``cuda:N``
        :raises RuntimeError: if the network cannot be recorded, or not faithfully
        """
        self._device = device
        with torch.cuda.device(device):
            self._images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_RUNS):
                    expected = network(self._images)
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=stream):
                self._prediction = network(self._images)
            self._graph.replay()
            if not torch.allclose(self._prediction, expected, rtol=TOLERANCE, atol=TOLERANCE):
                raise RuntimeError('the recorded network gives another prediction')

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """
        Return the prediction, valid until the next call.

        :param images: uint8, on any device
        """
        with torch.cuda.device(self._device):
            self._images.copy_(images)
            self._graph.replay()
        return self._prediction
