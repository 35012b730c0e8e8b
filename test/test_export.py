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
"""The ONNX graph computes what torch computes, or nothing is written."""

from dataclasses import replace
import json

from mtl_perception.card import Architecture, Card, ClassNames, ImageInput
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.cli import export as export_command
from mtl_perception.config import EngineConfig, InferenceSettings
from mtl_perception.engine import build_engine
from mtl_perception.errors import ExportError
from mtl_perception.export import export, largest_difference, onnx_bytes, TOLERANCE
from mtl_perception.frame import Frame
from mtl_perception.network import build_network, NETWORKS
import numpy as np
import onnx
import pytest
import torch
from torch import nn

CLASSES = ClassNames(('a', 'b'), ('background', 'a', 'b'), ('x', 'y', 'z'))


def card_of(name):
    """Return a small card for one of the networks."""
    arguments = {'width': 16} if name == 'unified' else {}
    return Card(name, Architecture(name, NETWORKS[name].strides, arguments), ImageInput(64, 96),
                CLASSES)


def trained_like(card):
    """Return the card's network with statistics and weights that are not those of the start."""
    torch.manual_seed(0)
    network = build_network(card)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 64, 96))
        for value in network.parameters():
            value.add_(0.02 * torch.randn_like(value))
    return network.eval()


@pytest.mark.parametrize('name', NETWORKS)
def test_both_engines_give_one_prediction(name, tmp_path):
    """What is exported loads in both back ends and says the same about a camera picture."""
    card = card_of(name)
    checkpoint = export(trained_like(card), card, tmp_path / name)
    assert sorted(path.name for path in checkpoint.folder.iterdir()) == [
        'card.json', 'model.onnx', 'model.safetensors']
    frame = Frame(np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8))
    settings = InferenceSettings(score_threshold=0.0, max_detections=5)
    first, second = (
        build_engine(load_checkpoint(tmp_path / name),
                     EngineConfig(engine, 'cpu', 1, True, 'float32')).infer(frame, settings)
        for engine in ('onnx', 'torch'))
    np.testing.assert_allclose(first.detections.boxes, second.detections.boxes, atol=0.01)
    np.testing.assert_allclose(first.class_probabilities, second.class_probabilities, atol=1e-4)
    assert (first.mask == second.mask).mean() > 0.999


@pytest.mark.parametrize('name', NETWORKS)
def test_graph_is_one_plain_file(name):
    """One input, one output, standard operators only, weights inside, batch norms folded."""
    card = card_of(name)
    model = onnx.load_from_string(onnx_bytes(build_network(card).eval(), card))
    assert [value.name for value in model.graph.input] == ['image']
    assert [value.name for value in model.graph.output] == ['prediction']
    assert {entry.domain for entry in model.opset_import} == {''}
    assert not any(item.data_location == onnx.TensorProto.EXTERNAL
                   for item in model.graph.initializer)
    assert 'BatchNormalization' not in {node.op_type for node in model.graph.node}


def test_a_graph_of_other_weights_is_told_apart():
    """The check sees a difference where there is one, and none where there is none."""
    card = card_of('unified')
    network = trained_like(card)
    content = onnx_bytes(network, card)
    assert largest_difference(network, card, content) < TOLERANCE
    with torch.no_grad():
        network.predict.bias[0] += 0.01
    assert largest_difference(network, card, content) > TOLERANCE


class Branching(nn.Module):
    """A network that tracing gets wrong: it does another thing for dark pictures."""

    def __init__(self, card):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self._shape = (card.layout.channels, card.cells)

    def forward(self, images):
        """Return a constant by the picture's brightness."""
        value = 1.0 if float(images.mean()) < 0 else 2.0
        return (images.mean() * 0 + value * self.scale).expand(1, *self._shape)


def test_a_mismatch_writes_nothing(tmp_path):
    """Export refuses in one line, and leaves weights that were there as they were."""
    card = card_of('unified')
    export(trained_like(card), card, tmp_path / 'weights')
    before = (tmp_path / 'weights' / 'card.json').read_text()
    for folder in ('weights', 'fresh'):
        with pytest.raises(ExportError, match='nothing was written'):
            export(Branching(card), card, tmp_path / folder)
    assert (tmp_path / 'weights' / 'card.json').read_text() == before
    assert not (tmp_path / 'fresh').exists()


def test_a_graph_that_does_not_run_is_refused():
    """Bytes that are no graph are an export error."""
    card = card_of('unified')
    with pytest.raises(ExportError, match='expected an ONNX graph that runs'):
        largest_difference(build_network(card).eval(), card, b'no graph')


def test_command_exports_weights_anew(tmp_path, capsys):
    """Weights come out with the card they went in with."""
    card = replace(card_of('unified'), metrics={'test': {'map50': 0.5}})
    export(trained_like(card), card, tmp_path / 'first')
    status = export_command.main([str(tmp_path / 'first'), '--output', str(tmp_path / 'second')])
    assert status == 0
    assert 'agree' in capsys.readouterr().out
    first, second = (json.loads((tmp_path / name / 'card.json').read_text())
                     for name in ('first', 'second'))
    assert first == second


def test_command_refuses_what_is_no_weights(tmp_path, capsys):
    """Status 2 and one line."""
    assert export_command.main([str(tmp_path / 'nothing')]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith('error: ')
    assert errors.count('\n') == 1
