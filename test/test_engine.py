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
"""The engine: right answers through the real runtime, honest about where it runs."""

import json
import os
import subprocess
import sys

from colour_weights import BLUE, RED, save_colour_weights
from hypothesis import given, settings, strategies
from mtl_perception.backends import NVIDIA_DEVICES
from mtl_perception.backends.onnx_backend import OnnxBackend, open_session
from mtl_perception.checkpoint import load_checkpoint, ONNX, save_checkpoint
from mtl_perception.config import EngineConfig, InferenceSettings
from mtl_perception.engine import build_engine, Engine
from mtl_perception.errors import CheckpointError, ConfigError, DeviceError
from mtl_perception.frame import Frame
import numpy as np
import onnxruntime
import pytest

HAS_NVIDIA = any(os.path.exists(path) for path in NVIDIA_DEVICES)
without_gpu = pytest.mark.skipif(HAS_NVIDIA, reason='this machine has a GPU')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours').folder


@pytest.fixture(scope='module')
def engine(folder):
    return build_engine(load_checkpoint(folder), EngineConfig(device='cpu', num_threads=1))


def square(height=128, width=128, color=RED, box=(32, 32, 64, 64)):
    """Return a black frame with one square, whose edges lie on the letterbox's cells."""
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1]:box[3], box[0]:box[2]] = color
    return Frame(image)


@pytest.mark.parametrize(('color', 'class_id'), [(RED, 1), (BLUE, 2)])
def test_colour_order_class_and_place_are_right(engine, color, class_id):
    prediction = engine.infer(square(color=color))
    assert set(prediction.detections.class_ids.tolist()) == {class_id}
    best = prediction.detections.boxes
    assert best[:, 0].min() >= 32 - 16 and best[:, 2].max() <= 64 + 16
    assert prediction.mask.shape == (128, 128)
    assert (prediction.mask[40:56, 40:56] == class_id).all()
    assert not prediction.mask[80:].any()
    assert prediction.class_probabilities.argmax() == 0


def test_stages_are_timed(engine):
    times = engine.infer(square()).stage_seconds
    assert list(times) == ['preprocess', 'inference', 'postprocess']
    assert all(seconds > 0 for seconds in times.values())


def test_heads_can_be_switched_off(engine):
    prediction = engine.infer(square(), InferenceSettings(detection=False, segmentation=False))
    assert prediction.detections is None and prediction.mask is None
    assert prediction.class_probabilities.sum() == pytest.approx(1.0)


@given(strategies.integers(1, 700), strategies.integers(1, 700))
@settings(max_examples=40, deadline=None)
def test_any_size_is_answered_in_its_own_pixels(engine, height, width):
    prediction = engine.infer(Frame(np.full((height, width, 3), RED, np.uint8)))
    assert prediction.mask.shape == (height, width)
    boxes = prediction.detections.boxes
    assert (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()


@pytest.mark.parametrize('size', [(96, 96), (120, 160), (90, 160), (160, 90), (60, 240)])
def test_a_square_is_found_where_it_is_whatever_the_proportions(engine, size):
    height, width = size
    side = min(height, width) // 2
    box = (width - side - 4, height - side - 4, width - 4, height - 4)
    prediction = engine.infer(square(height, width, BLUE, box))
    rows, columns = np.nonzero(prediction.mask == 2)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    cell = 8 * max(size) / 64
    np.testing.assert_allclose(found, box, atol=cell)


def test_the_engine_says_where_it_runs(engine):
    assert (engine.engine_name, engine.device_name, engine.warnings) == ('onnx', 'cpu', ())


@without_gpu
def test_a_device_that_is_not_there_is_stood_in_for_aloud(folder):
    engine = build_engine(load_checkpoint(folder), EngineConfig(device='cuda:1'))
    assert engine.device_name == 'cpu'
    assert len(engine.warnings) == 1 and 'expected an NVIDIA GPU' in engine.warnings[0]


@without_gpu
@pytest.mark.parametrize('device', ['cuda', 'cuda:3'])
def test_a_device_that_is_required_is_an_error(folder, device):
    config = EngineConfig(device=device, require_device=True)
    with pytest.raises(DeviceError, match='expected an NVIDIA GPU') as caught:
        build_engine(load_checkpoint(folder), config)
    assert '\n' not in str(caught.value)


def test_a_device_that_is_lost_is_stood_in_for_aloud(folder):
    checkpoint = load_checkpoint(folder)
    session = onnxruntime.InferenceSession(checkpoint.onnx_path)
    lost = OnnxBackend(session, 'cuda:0')
    with pytest.raises(DeviceError, match='cuda:0 is lost to engine onnx: .*nvidia-smi') as caught:
        lost.run(np.zeros((1, 64, 64), np.uint8))  # no picture: a real failure of the runtime
    assert '\n' not in str(caught.value)
    cpu = OnnxBackend(session, 'cpu')

    class Failing(OnnxBackend):
        def run(self, images):
            return super().run(images[0])
    engine = Engine(checkpoint.card, Failing(session, 'cuda:0'), (), lambda: cpu)
    assert engine.device_name == 'cuda:0'
    assert engine.infer(square()).detections
    assert (engine.device_name, engine.provider) == ('cpu', 'CPUExecutionProvider')
    assert len(engine.warnings) == 1 and 'running onnx on cpu since' in engine.warnings[0]
    with pytest.raises(DeviceError, match='is lost'):
        Engine(checkpoint.card, Failing(session, 'cuda:0')).infer(square())


def test_torch_says_that_its_device_gives_no_answer():
    torch = pytest.importorskip('torch')
    from mtl_perception.backends.torch_backend import TorchBackend
    nowhere = TorchBackend(torch.nn.Identity(), 'meta')  # a device that never gives data back
    with pytest.raises(DeviceError, match='meta is lost to engine torch') as caught:
        nowhere.run(np.zeros((1, 8, 8, 3), np.uint8))
    assert '\n' not in str(caught.value)


@without_gpu
def test_a_network_that_cannot_be_recorded_runs_unrecorded():
    """Why is told by the provider."""
    torch = pytest.importorskip('torch')
    from mtl_perception.backends.torch_backend import TorchBackend
    backend = TorchBackend(torch.nn.Identity(), 'cuda:0', [(1, 8, 8, 3)])
    assert backend.provider == 'PyTorch'
    backend.prepare()
    assert backend.provider.startswith('PyTorch without CUDA graphs (')
    assert '\n' not in backend.provider
    with pytest.raises(DeviceError, match='cuda:0 is lost to engine torch'):
        backend.run(np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.filterwarnings('ignore:Specified provider')
def test_a_gpu_that_does_not_come_is_not_the_weights_fault(folder):
    """And weights at fault are not the GPU's."""
    path, absent = folder / ONNX, [('CUDAExecutionProvider', {}), ('CPUExecutionProvider', {})]
    if absent[0][0] in onnxruntime.get_available_providers():
        pytest.skip('ONNX Runtime with CUDA')
    with pytest.raises(DeviceError, match='CUDAExecutionProvider of ONNX Runtime, got CPU'):
        open_session(path, path.read_bytes(), absent, 1)
    with pytest.raises(CheckpointError, match='export the weights again'):
        open_session(path, b'no graph', absent, 1)


def test_a_graph_of_one_shape_says_what_that_of_all_says(folder):
    """Such are given to TensorRT."""
    path = folder / ONNX
    content, height, width = path.read_bytes(), 48, 64
    fixed, free = (open_session(path, content, [('CPUExecutionProvider', {})], 1, sizes)
                   for sizes in ({'height': height, 'width': width}, {}))
    assert fixed.get_inputs()[0].shape == [1, height, width, 3]
    picture = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    np.testing.assert_allclose(fixed.run(None, {'image': picture})[0],
                               free.run(None, {'image': picture})[0], atol=1e-5)


@pytest.mark.parametrize('content', [b'\0', b'no graph', b'\x08\x08' * 100])
def test_bytes_that_are_no_graph_are_refused_in_a_line(folder, tmp_path, content):
    checkpoint = load_checkpoint(folder)
    save_checkpoint(tmp_path / 'broken', checkpoint.card, content, b'parameters')
    with pytest.raises(CheckpointError, match='export the weights again') as caught:
        build_engine(load_checkpoint(tmp_path / 'broken'), EngineConfig(device='cpu'))
    assert '\n' not in str(caught.value)


def test_a_graph_that_does_not_fit_its_card_is_refused(folder, tmp_path):
    card = json.loads((folder / 'card.json').read_text())
    card['classes']['detection'] = ['red', 'blue', 'green']
    misfit = load_checkpoint(_with_card(folder, tmp_path / 'misfit', card))
    with pytest.raises(CheckpointError, match='from its card'):
        build_engine(misfit, EngineConfig(device='cpu'))


def _with_card(folder, target, card):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    (target / 'card.json').write_text(json.dumps(card))
    return target


def test_altered_weights_do_not_run(folder, tmp_path):
    card = json.loads((folder / 'card.json').read_text())
    altered = _with_card(folder, tmp_path / 'altered', card)
    with open(altered / ONNX, 'ab') as file:
        file.write(b'\0')
    with pytest.raises(CheckpointError, match='expected sha256'):
        build_engine(load_checkpoint(altered), EngineConfig(device='cpu'))


@pytest.mark.parametrize(('field', 'value'), [
    ('engine', 'tensorflow'), ('device', 'gpu'), ('device', 'cuda:'), ('num_threads', -1),
    ('num_threads', 2.0)])
def test_a_wish_that_is_none_is_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        EngineConfig(**{field: value})


def test_onnx_on_a_cpu_never_loads_torch(folder):
    code = f"""
import sys
import numpy as np
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.engine import build_engine, Engine
from mtl_perception.frame import Frame
build_engine(load_checkpoint({str(folder)!r})).infer(Frame(np.zeros((9, 9, 3), np.uint8)))
print(*(name for name in ('torch', 'rclpy', 'mujoco') if name in sys.modules))
"""
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, ''), run.stderr
