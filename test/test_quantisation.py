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
"""An int8 graph is made from frames, runs in both libraries, and stays with its weights."""

import json

import cv2
from mtl_perception.backends import onnx_backend
from mtl_perception.card import Architecture, Card, ClassNames, ImageInput
from mtl_perception.checkpoint import INT8_ONNX, load_checkpoint, ONNX, verified_bytes
from mtl_perception.evaluation import write_metrics
import numpy as np
import pytest

pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

from mtl_perception.cli import export as export_command  # noqa: E402, I100 after the skips
from mtl_perception.errors import ExportError  # noqa: E402, I100
from mtl_perception.export import export  # noqa: E402, I100
from mtl_perception.network import build_network, NETWORKS  # noqa: E402, I100
from mtl_perception.quantisation import (  # noqa: E402, I100
    network_picture, quantised, require_sane)
import torch  # noqa: E402, I100

FRAMES = 6
CARD = Card('tiny', Architecture('unified', NETWORKS['unified'].strides, {'width': 16}),
            ImageInput(64, 96),
            ClassNames(('a', 'b'), ('background', 'a', 'b'), ('x', 'y', 'z')))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Write a few frames in VOC's layout: a training split, without any labels."""
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    for folder in ('JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    names = [f'frame{number}' for number in range(FRAMES)]
    for name in names:
        rough = rng.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(root / 'JPEGImages' / f'{name}.jpg'), cv2.resize(rough, (80, 60)))
    (root / 'ImageSets' / 'Main' / 'train.txt').write_text('\n'.join(names))
    return root


@pytest.fixture(scope='module')
def weights(tmp_path_factory, data):
    """Export a small random network with an int8 graph, and return its checkpoint."""
    torch.manual_seed(0)
    network = build_network(CARD)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 64, 96))
    folder = tmp_path_factory.mktemp('weights') / 'tiny'
    export(network.eval(), CARD, folder)
    assert export_command.main([str(folder), '--output', str(folder), '--calibrate', str(data),
                                '--frames', '4']) == 0
    return load_checkpoint(folder)


def test_both_libraries_run_it_and_it_says_the_same(weights, data):
    """Near to what float32 says, and near to each other."""
    openvino_backend = pytest.importorskip('mtl_perception.backends.openvino_backend')
    image = cv2.imread(str(data / 'JPEGImages' / 'frame5.jpg'))
    picture = network_picture(image, weights.card)[None]
    truth = onnx_backend.open_network(weights, 'cpu', 1).run(picture)
    runtime = onnx_backend.open_network(weights, 'cpu', 1, 'int8')
    assert runtime.provider == 'CPUExecutionProvider int8'
    answers = [runtime.run(picture),
               openvino_backend.open_network(weights, 'cpu', 1, 'int8').run(picture)]
    for found in answers:
        assert found.dtype == np.float32
        assert 0.0 < np.abs(found - truth).mean() < 0.05 * truth.std()
    assert np.abs(answers[0] - answers[1]).mean() < 0.03 * truth.std()


def test_only_matrix_products_are_quantised(weights):
    """Nothing of a depthwise convolution or a sum is, and picture and prediction stay."""
    graph = onnx.load_from_string(verified_bytes(weights, INT8_ONNX)).graph
    makers = {output: node for node in graph.node for output in node.output}
    shapes = {item.name: list(item.dims) for item in graph.initializer}
    restored = [node for node in graph.node if node.op_type == 'DequantizeLinear']
    kernels = [shapes[node.input[0]] for node in restored
               if len(shapes.get(node.input[0], ())) == 4]
    assert kernels and all(kernel[2:] == [1, 1] for kernel in kernels)
    for node in restored:
        users = [user for user in graph.node if node.output[0] in user.input]
        assert any(user.op_type == 'Conv' and makers[user.input[1]].op_type == 'DequantizeLinear'
                   for user in users if len(user.input) > 1), node.name
    assert (graph.input[0].name, graph.output[0].name) == ('image', 'prediction')


def test_the_same_frames_give_the_same_graph(weights, data, tmp_path):
    """Frames are drawn alike every time; another number of them is another graph."""
    digests = []
    for name, count in (('first', '4'), ('second', '4'), ('third', '2')):
        assert export_command.main([str(weights.folder), '--output', str(tmp_path / name),
                                    '--calibrate', str(data), '--frames', count]) == 0
        digests.append(load_checkpoint(tmp_path / name).card.files[INT8_ONNX].sha256)
    assert digests[0] == digests[1] == weights.card.files[INT8_ONNX].sha256 != digests[2]


def test_it_stays_with_the_weights(weights, tmp_path):
    """Export and figures keep it; figures of another precision have a key of their own."""
    assert export_command.main([str(weights.folder), '--output', str(tmp_path / 'again')]) == 0
    again = load_checkpoint(tmp_path / 'again')
    assert again.card.files[INT8_ONNX] == weights.card.files[INT8_ONNX]
    write_metrics(again, 'val', 'float32', {'map50': 0.5})
    write_metrics(load_checkpoint(again.folder), 'val', 'int8', {'map50': 0.4})
    card = json.loads((again.folder / 'card.json').read_text())
    assert card['metrics'] == {'val': {'map50': 0.5}, 'val@int8': {'map50': 0.4}}
    assert verified_bytes(load_checkpoint(again.folder), INT8_ONNX)


def test_insane_graphs_are_refused(weights):
    """No numbers, another shape, no graph at all."""
    picture = np.zeros((64, 96, 3), np.uint8)
    model = onnx.load_from_string(verified_bytes(weights, ONNX))
    require_sane(model.SerializeToString(), CARD, [picture])
    last = next(item for item in model.graph.initializer if item.name.endswith('predict.bias'))
    last.CopyFrom(onnx.numpy_helper.from_array(
        np.full(list(last.dims), np.nan, np.float32), last.name))
    for content in (model.SerializeToString(), b'no graph'):
        with pytest.raises(ExportError, match='int8 graph') as caught:
            require_sane(content, CARD, [picture])
        assert '\n' not in str(caught.value)
    with pytest.raises(ExportError, match='expected convolutions of 1x1'):
        del model.graph.node[:]
        quantised(model.SerializeToString(), CARD, [picture])


@pytest.mark.parametrize('arguments', [['--calibrate', 'nowhere'], ['--frames', '0']])
def test_command_refuses_before_the_work(weights, tmp_path, capsys, arguments):
    """Status 2, one line, nothing written."""
    status = export_command.main([str(weights.folder), '--output', str(tmp_path / 'new'),
                                  *arguments])
    errors = capsys.readouterr().err
    assert status == 2 and errors.startswith('error: ') and errors.count('\n') == 1
    assert not (tmp_path / 'new').exists()
