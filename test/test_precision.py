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
"""OpenVINO and ONNX Runtime run one graph alike, in each precision, and say which."""

import ctypes
import subprocess
import sys

from colour_weights import RED, save_colour_weights
from mtl_perception.backends import onnx_backend, open_backend
from mtl_perception.checkpoint import INT8_ONNX, load_checkpoint, ONNX
from mtl_perception.config import EngineConfig, InferenceSettings, PRECISIONS
from mtl_perception.engine import build_engine
from mtl_perception.errors import ConfigError, DeviceError
from mtl_perception.frame import Frame
import numpy as np
import pytest

openvino_backend = pytest.importorskip('mtl_perception.backends.openvino_backend')
HAS_BFLOAT16 = 'BF16' in openvino_backend.capabilities()
# By what of the largest logit an answer may differ from ONNX Runtime's in float32.
TOLERANCE = {'float32': 1e-4, 'bfloat16': 0.1, 'int8': 0.2}
SHAPES = ((512, 512), (448, 576), (384, 672), (576, 448), (96, 800))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours').folder


@pytest.fixture(scope='module')
def household():
    return load_checkpoint('household')


def noise(height, width, seed=0):
    """Return a picture of uniform noise for the network."""
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)


def precisions_of(checkpoint):
    """Return what this machine and the weights have."""
    return [name for name in PRECISIONS[1:]
            if name != 'float16' and (name != 'bfloat16' or HAS_BFLOAT16)
            and (name != 'int8' or INT8_ONNX in checkpoint.card.files)]


@pytest.mark.parametrize('shape', SHAPES)
def test_each_precision_says_what_onnx_runtime_says(household, shape):
    """On shapes that are compiled ahead, and on others."""
    picture = noise(*shape)
    expected = onnx_backend.open_network(household, 'cpu', 1).run(picture)
    for precision in precisions_of(household):
        backend = openvino_backend.open_network(household, 'cpu', 1, precision)
        found = backend.run(picture)
        assert (found.dtype, found.shape) == (np.float32, expected.shape)
        assert np.abs(found - expected).mean() < TOLERANCE[precision] * np.abs(expected).max()
        assert backend.provider.startswith(f'OpenVINO {precision}')


def test_bits_depend_on_no_thread(household):
    """A node and predict_bag may have different threads; their answers are the same."""
    for precision in precisions_of(household):
        first, *others = (openvino_backend.open_network(household, 'cpu', threads, precision)
                          for threads in (1, 2, 3))
        for shape in SHAPES:
            picture = noise(*shape)
            expected = first.run(picture).copy()
            for other in others:
                assert (other.run(picture) == expected).all(), (precision, shape)


def test_an_answer_is_not_written_over_by_the_next(folder):
    """What the library gives is its own memory; what the engine gives is the caller's."""
    engine = build_engine(load_checkpoint(folder), EngineConfig('onnx', 'cpu', 1))
    assert engine.provider.startswith('OpenVINO')
    red = Frame(np.full((64, 64, 3), RED, np.uint8))
    prediction = engine.infer(red, InferenceSettings(score_threshold=0.0))
    before = (prediction.mask.copy(), prediction.class_probabilities.copy(),
              prediction.detections.boxes.copy(), prediction.detections.scores.copy())
    engine.infer(Frame(np.zeros((64, 64, 3), np.uint8)), InferenceSettings(score_threshold=0.0))
    for old, kept in zip(before, (prediction.mask, prediction.class_probabilities,
                                  prediction.detections.boxes, prediction.detections.scores)):
        np.testing.assert_array_equal(kept, old)


def in_another_process(folder, precision, block=''):
    """Return provider and warnings of an engine built in a Python of its own."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys({block.split()!r}))
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.config import EngineConfig
from mtl_perception.engine import build_engine
from mtl_perception.frame import Frame
import numpy as np
engine = build_engine(load_checkpoint({str(folder)!r}),
                      EngineConfig('onnx', 'cpu', 1, precision={precision!r}))
assert engine.infer(Frame(np.zeros((64, 64, 3), np.uint8))).mask.shape == (64, 64)
print(engine.provider, *engine.warnings, sep=chr(10))
print('modules', *({{'torch', 'onnxruntime', 'openvino'}} & set(
    name for name, module in sys.modules.items() if module)))
"""
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    *lines, modules = run.stdout.splitlines()
    return lines[0], lines[1:], set(modules.split()[1:])


MANY_SHAPES = """
import os
from pathlib import Path
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.config import EngineConfig
from mtl_perception.engine import build_engine
from mtl_perception.frame import Frame
import numpy as np

engine = build_engine(load_checkpoint('household'), EngineConfig('onnx', num_threads=1))
sizes = np.random.default_rng(0).integers(1, 130, (400, 2)).tolist()
pages = []
for height, width in sizes:
    engine.infer(Frame(np.zeros((height, width, 3), np.uint8)))
    pages.append(int(Path('/proc/self/statm').read_text().split()[1]))
quarter = len(pages) // 4
growth = np.median(pages[-quarter:]) - np.median(pages[quarter:2 * quarter])
print(growth * os.sysconf('SC_PAGE_SIZE') / 1e6)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'malloc_trim'), reason='not glibc')
def test_pictures_of_many_shapes_take_no_more_memory():
    """Memory that was set aside for a shape and is free again goes back to the system."""
    run = subprocess.run([sys.executable, '-c', MANY_SHAPES], capture_output=True, text=True,
                         timeout=60)
    assert float(run.stdout) < 4.0, run.stderr


def test_two_processes_choose_alike(household):
    """By hardware, not by a measurement; and only what is used is loaded."""
    config = EngineConfig('onnx', 'cpu', 1)
    here = build_engine(household, config).provider
    assert in_another_process('household', 'auto') == (here, [], {'openvino'})


def test_without_openvino_onnx_runtime_does_it(folder):
    """Its wheels are not for every machine."""
    provider, warnings, modules = in_another_process(folder, 'auto', 'openvino')
    assert (provider, warnings, modules) == ('CPUExecutionProvider', [], {'onnxruntime'})
    provider, warnings, modules = in_another_process(folder, 'bfloat16', 'openvino')
    assert provider == 'CPUExecutionProvider' and modules == {'onnxruntime'}
    assert len(warnings) == 1 and 'in bfloat16 cannot be had' in warnings[0]
    assert 'expected OpenVINO' in warnings[0]


def test_int8_without_such_weights_is_said(folder):
    """The next best, and why; or an error, if it is required."""
    provider, warnings, modules = in_another_process(folder, 'int8')
    assert provider.startswith('OpenVINO') and modules == {'openvino'}
    assert len(warnings) == 1 and f'expected {folder / INT8_ONNX}' in warnings[0]
    with pytest.raises(DeviceError, match='export --calibrate') as caught:
        build_engine(load_checkpoint(folder),
                     EngineConfig(num_threads=1, require_device=True, precision='int8'))
    assert '\n' not in str(caught.value)


def test_other_precisions_are_not_for_torch(folder):
    """Torch runs float32, and so says the error; no library is loaded for that."""
    with pytest.raises(DeviceError, match='expected precision float32 for engine torch'):
        open_backend('torch', load_checkpoint(folder), 'cpu', 1, 'int8')
    with pytest.raises(ConfigError, match='precision: expected one of auto, float32, float16'):
        EngineConfig(precision='float8')


def test_half_precision_is_for_the_gpu(folder):
    """The next best on a CPU, and why."""
    provider, warnings, modules = in_another_process(folder, 'float16')
    assert provider.startswith('OpenVINO') and modules == {'openvino'}
    assert len(warnings) == 1 and 'in float16 cannot be had, running onnx on cpu' in warnings[0]
    assert 'expected an NVIDIA GPU for precision float16' in warnings[0]


def test_the_int8_graph_is_verified_as_the_others_are(household, tmp_path):
    """Half a file is no int8 graph."""
    if INT8_ONNX not in household.card.files:
        pytest.skip('the shipped weights have no int8 graph')
    for path in household.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:2000 if path.name == INT8_ONNX
                                                             else None])
    config = EngineConfig('onnx', 'cpu', 1, precision='int8')
    with pytest.raises(Exception, match=f'{INT8_ONNX}: expected sha256'):
        build_engine(load_checkpoint(tmp_path), config)
    (tmp_path / ONNX).write_bytes(b'')  # int8 needs no other graph
    (tmp_path / INT8_ONNX).write_bytes((household.folder / INT8_ONNX).read_bytes())
    assert build_engine(load_checkpoint(tmp_path), config).precision == 'int8'
