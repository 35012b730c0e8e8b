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
The node on a back end that misbehaves: ``odd_node.py slow|lost [--ros-args ...]``.

``slow`` takes ``SLOW_S`` a frame. ``lost`` says it is a GPU and answers ``ANSWERS`` frames. Both
are the real ONNX Runtime behind that; they enter through the package's table of back ends.
"""

import sys
import time

from mtl_perception import backends
from mtl_perception.backends import device_lost, onnx_backend
from mtl_perception.ros.node import main

SLOW_S = 0.5
ANSWERS = 5


class SlowBackend(onnx_backend.OnnxBackend):
    """A CPU that is too slow."""

    def run(self, images):
        """Answer late."""
        time.sleep(SLOW_S)
        return super().run(images)


class LostBackend(onnx_backend.OnnxBackend):
    """A GPU that goes away."""

    left = ANSWERS

    def run(self, images):
        """Answer a few times."""
        if self.device == 'cpu':
            return super().run(images)
        self.left -= 1
        if self.left < 0:
            raise device_lost(self, RuntimeError('CUDA error 700: an illegal\nmemory access'))
        return super().run(images)


def open_network(checkpoint, device, num_threads, precision):
    """Return the back end that the command line names, as a module of the table has to."""
    real = onnx_backend.open_network(checkpoint, 'cpu', num_threads)
    kind = {'slow': SlowBackend, 'lost': LostBackend}[KIND]
    return kind(real._session, device)


if __name__ == '__main__':
    KIND = sys.argv.pop(1)
    backends.BACKENDS['onnx'] = '__main__'
    if KIND == 'lost':
        backends.NVIDIA_DEVICES = ('/dev/null',)
    sys.exit(main(sys.argv[1:]))
