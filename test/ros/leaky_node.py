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
"""The node on a back end that keeps memory and an open file for every frame."""

import os
import sys

from mtl_perception import backends
from mtl_perception.backends import onnx_backend
from mtl_perception.ros.node import main
import numpy as np

LEAK_BYTES = 300_000


class LeakyBackend(onnx_backend.OnnxBackend):
    """The real one, with a bug."""

    kept = []

    def run(self, images):
        """Answer, and forget to forget."""
        self.kept.append((np.ones(LEAK_BYTES, np.uint8), open(os.devnull)))
        return super().run(images)


def open_network(checkpoint, device, num_threads, precision):
    """Return the back end, as a module of the table has to."""
    real = onnx_backend.open_network(checkpoint, 'cpu', num_threads)
    return LeakyBackend(real._session, device)


if __name__ == '__main__':
    backends.BACKENDS['onnx'] = '__main__'
    sys.exit(main(sys.argv[1:]))
