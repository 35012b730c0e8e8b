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
"""The network on an NVIDIA GPU: it says what it says on the CPU. Skipped where there is none."""

from mtl_perception.backends import onnx_backend, open_backend
from mtl_perception.backends.common_shapes import common_shapes
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.config import EngineConfig
from mtl_perception.engine import build_engine
from mtl_perception.errors import DeviceError
from mtl_perception.frame import Frame
import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no NVIDIA GPU')
# By what of the largest logit an answer may differ from the CPU's in float32: half precision has
# 11 bits, and TensorFloat-32, which CUDA takes for a float32 convolution, as many.
TOLERANCE = 0.02


@pytest.fixture(scope='module')
def checkpoint():
    return load_checkpoint('household')


def pictures(checkpoint):
    """Return noise of each common shape, and of one that is not."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, shape, np.uint8)
            for shape in (*common_shapes(checkpoint.card), (1, 320, 320, 3))]


def assert_alike(checkpoint, backend):
    """Compare with ONNX Runtime on the CPU, each picture twice: the second run reuses memory."""
    reference = onnx_backend.open_network(checkpoint, 'cpu', 0)
    for picture in 2 * pictures(checkpoint):
        expected, found = reference.run(picture), backend.run(picture)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


def test_torch_says_the_same(checkpoint):
    """Kernel by kernel, then recorded."""
    backend = open_backend('torch', checkpoint, 'cuda:0', 0)
    assert_alike(checkpoint, backend)
    backend.prepare()
    assert backend.provider == 'PyTorch with CUDA graphs'
    assert_alike(checkpoint, backend)


@pytest.mark.skipif(onnx_backend.CUDA not in onnxruntime.get_available_providers(),
                    reason='ONNX Runtime without CUDA')
def test_onnx_runtime_says_the_same(checkpoint):
    backend = open_backend('onnx', checkpoint, 'cuda:0', 0)
    assert backend.provider == onnx_backend.CUDA
    assert_alike(checkpoint, backend)


def test_tensorrt_says_the_same(checkpoint):
    """In half precision, where its libraries are installed; it takes a while to build."""
    try:
        backend = open_backend('onnx', checkpoint, 'cuda:0', 0, 'float16')
    except DeviceError as error:
        pytest.skip(str(error))
    assert (backend.precision, backend.device) == ('float16', 'cuda:0')
    assert_alike(checkpoint, backend)


def test_a_gpu_is_taken_by_itself(checkpoint):
    """And the answer is that of the CPU."""
    frame = Frame(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8))
    engine = build_engine(checkpoint, EngineConfig())
    assert (engine.device_name, engine.warnings) == ('cuda:0', ())
    engine.prepare()
    expected = build_engine(checkpoint, EngineConfig(device='cpu')).infer(frame)
    assert (engine.infer(frame).mask == expected.mask).mean() > 0.99
