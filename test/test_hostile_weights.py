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
"""Weights from a stranger: real files through the real way, refused in one line or used."""

import ast
import copy
import json
from pathlib import Path
import struct

from colour_weights import CARD as COLOURS, save_colour_weights
from hypothesis import given, settings, strategies as st
from mtl_perception.card import Architecture, Card, card_to_json, ClassNames, ImageInput
from mtl_perception.checkpoint import CARD, load_checkpoint, ONNX, save_checkpoint
from mtl_perception.config import EngineConfig
from mtl_perception.engine import build_engine, Engine
from mtl_perception.errors import CheckpointError
from mtl_perception.frame import Frame
from mtl_perception.onnx_graph import check_straight
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
BLANK = Frame(np.zeros((64, 64, 3), np.uint8))
HUGE = 1 << 40


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours').folder


@pytest.fixture(scope='module')
def good(folder):
    """Return the bytes of a graph that works."""
    return (folder / ONNX).read_bytes()


def use(folder, engine='onnx', library=None):
    """
    Load weights as the node does, look at one picture; return what was refused, or ''.

    :param library: module of backends/ that must do it
    """
    try:
        checkpoint = load_checkpoint(folder)
        config = EngineConfig(engine=engine, device='cpu', num_threads=1, require_device=True)
        engine = build_engine(checkpoint, config) if library is None else Engine(
            checkpoint.card, _module(library).open_network(checkpoint, 'cpu', 1, 'float32'))
        engine.infer(BLANK)
    except CheckpointError as error:
        assert '\n' not in str(error) and len(str(error)) < 1000
        return str(error)
    return ''


def _module(library):
    return pytest.importorskip(f'mtl_perception.backends.{library}')


def use_graph(tmp_path, graph, library=None):
    """Return what is refused of a graph whose card fits."""
    weights = save_checkpoint(tmp_path / 'hostile', COLOURS, graph, b'none')
    return use(weights.folder, library=library)


def model(nodes, opset=17, **values):
    """Return an ONNX file of some nodes and constants, with the inputs and outputs expected."""
    onnx = pytest.importorskip('onnx')
    helper = onnx.helper
    tensors = [value if isinstance(value, onnx.TensorProto)
               else onnx.numpy_helper.from_array(np.asarray(value), name)
               for name, value in values.items()]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs.split(), [output], **attributes)
         for kind, inputs, output, attributes in nodes], 'hostile',
        [helper.make_tensor_value_info('image', onnx.TensorProto.UINT8,
                                       [1, 'height', 'width', 3])],
        [helper.make_tensor_value_info('prediction', onnx.TensorProto.FLOAT,
                                       [1, COLOURS.layout.channels, 'cells'])], tensors)
    domains = {kind.rpartition('.')[0] for kind, *_ in nodes if '.' in kind}
    for node in graph.node:
        node.domain, _, node.op_type = node.op_type.rpartition('.')
    imports = [helper.make_opsetid(name, 1) for name in domains]
    return helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid('', opset), *imports]).SerializeToString()


def tensor(dims, content=bytes(16), **location):
    """Return a constant ``w`` that claims its size, or to lie in another file."""
    onnx = pytest.importorskip('onnx')
    claim = onnx.TensorProto(name='w', data_type=onnx.TensorProto.FLOAT, dims=dims)
    if location:
        claim.data_location = onnx.TensorProto.EXTERNAL
        for key, value in location.items():
            claim.external_data.add(key=key, value=value)
    else:
        claim.raw_data = content
    return claim


def endless():
    """Return a loop that goes on for 10**18 turns."""
    helper, kind = pytest.importorskip('onnx').helper, pytest.importorskip('onnx').TensorProto

    def value(name, element, *shape):
        return helper.make_tensor_value_info(name, element, shape)
    return helper.make_graph(
        [helper.make_node('Identity', ['on'], ['on_']),
         helper.make_node('Identity', ['x'], ['x_'])], 'body',
        [value('turn', kind.INT64), value('on', kind.BOOL), value('x', kind.FLOAT, 1, 12, 64)],
        [value('on_', kind.BOOL), value('x_', kind.FLOAT, 1, 12, 64)])


PLANES = [('Cast', 'image', 'f', {'to': 1}), ('Transpose', 'f', 'x', {'perm': [0, 3, 1, 2]})]
SAME = [('Identity', 'w', 'prediction', {})]
GOOD = {'strides': [8, 8], 'pads': [1, 1, 1, 1]}
ZEROS = np.zeros((1, 12, 64), np.float32)
KERNEL = np.zeros((12, 3, 3, 3), np.float32)


def convolution(**attributes):
    """Return a graph that is right but for some attributes of its one layer."""
    return model([*PLANES, ('Conv', 'x w', 'grid', {**GOOD, **attributes}),
                  ('Reshape', 'grid s', 'prediction', {})], w=KERNEL, s=np.array([1, 12, -1]))


HOSTILE = {
    'another file': lambda: model(SAME, w=tensor([1, 12, 4], location='/etc/passwd')),
    'a file above': lambda: model(SAME, w=tensor([1, 12, 4], location='../../../etc/passwd')),
    'a custom operator': lambda: model([('com.evil.Run', 'image', 'prediction', {})]),
    'an unknown operator': lambda: model([('Run', 'image', 'prediction', {})]),
    'a circle': lambda: model([('Identity', 'b', 'a', {}), ('Identity', 'a', 'b', {}), *SAME],
                              w=ZEROS),
    'an endless loop': lambda: model([('Loop', 'n on w', 'prediction', {'body': endless()})],
                                     n=np.int64(10**18), on=np.bool_(True), w=ZEROS),
    'a constant that is not there': lambda: model(SAME, w=tensor([1, 12, HUGE])),
    'a size that overflows': lambda: model(SAME, w=tensor([1 << 32, 1 << 32], b'')),
    'a negative size': lambda: model(SAME, w=tensor([-1, 12, 4])),
    'a huge output': lambda: model([('ConstantOfShape', 'w', 'prediction', {})],
                                   w=np.array([1, 12, HUGE])),
    'a huge expansion': lambda: model([('Expand', 'w s', 'prediction', {})],
                                      w=ZEROS[..., :1], s=np.array([1, 12, HUGE])),
    'an index outside': lambda: model([('Gather', 'w i', 'prediction', {'axis': 2})],
                                      w=ZEROS, i=np.array([HUGE])),
    'a shape that does not fit': lambda: model([('Reshape', 'w s', 'prediction', {})],
                                               w=ZEROS, s=np.array([1, 12, 63])),
    'a huge border': lambda: convolution(pads=[HUGE] * 4),
    'huge gaps': lambda: convolution(dilations=[HUGE] * 2),
    'no groups': lambda: convolution(group=0),
    'no stride': lambda: convolution(strides=[0, 0]),
    'too few cells': lambda: convolution(strides=[16, 16]),
    'one of the axes missing': lambda: model(SAME, w=ZEROS[0]),
    'another element type': lambda: model(SAME, w=ZEROS.astype(np.float64)),
    'a version to come': lambda: model(SAME, opset=999, w=ZEROS),
    'no graph': lambda: b'\x08\x08',
    'text': lambda: b'import os; os.system("true")',
    'a pickle': lambda: b'\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.'}


LIBRARIES = ('onnx_backend', 'openvino_backend')
# What OpenVINO takes for a harmless graph, and answers.
TAKEN_BY_OPENVINO = {'no groups'}


@pytest.mark.parametrize('library', LIBRARIES)
@pytest.mark.parametrize('name', HOSTILE)
def test_a_hostile_graph_is_refused(name, library, tmp_path):
    """By the library or by us, but never with a traceback, and at once."""
    refused = use_graph(tmp_path, HOSTILE[name](), library)
    assert ONNX in refused or (library == 'openvino_backend' and name in TAKEN_BY_OPENVINO)


@pytest.mark.parametrize('library', LIBRARIES)
def test_the_tests_graphs_are_no_straw_men(library, tmp_path):
    """The same builders make a graph that works."""
    assert use_graph(tmp_path, convolution(), library) == ''


def test_no_tensor_comes_from_another_file(tmp_path, monkeypatch):
    """One that is there, of the right length, in every place where a tensor can be named."""
    onnx = pytest.importorskip('onnx')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data.bin').write_bytes(bytes(ZEROS.nbytes))
    claim = tensor(ZEROS.shape, location='data.bin', length=str(ZEROS.nbytes))
    sparse = onnx.helper.make_sparse_tensor(
        onnx.numpy_helper.from_array(np.ones(1, np.float32), 'v'),
        onnx.numpy_helper.from_array(np.zeros(1, np.int64), 'i'), ZEROS.shape)
    for graph in (model(SAME, w=claim),
                  model([('Constant', '', 'prediction', {'value': claim})]),
                  model([('Constant', '', 'prediction', {'sparse_value': sparse})])):
        for library in LIBRARIES:
            assert 'expected plain tensors' in use_graph(tmp_path, graph, library)


def test_the_walk_through_a_file_ends_at_any_byte(good):
    """Half of a number, of a length, of a name."""
    check_straight(good)
    for end in range(1, len(good)):
        try:
            check_straight(good[:end])
        except CheckpointError as error:
            assert 'ONNX file' in str(error)


edits = st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 8), st.binary(max_size=8)),
                 min_size=1, max_size=4)


def edited(content, changes):
    """Return bytes with some cut out and others put in."""
    content = bytearray(content)
    for place, length, new in changes:
        place %= len(content) + 1
        content[place:place + length] = new
    return bytes(content)


@pytest.mark.parametrize('library', LIBRARIES)
@settings(max_examples=300, deadline=None)
@given(changes=edits)
def test_altered_graphs_are_refused_or_run(good, tmp_path_factory, library, changes):
    """Whoever alters the graph can fit the card's digest to it."""
    folder = tmp_path_factory.getbasetemp() / 'altered'
    graph = edited(good, changes) or b'x'
    use(save_checkpoint(folder, COLOURS, graph, b'none').folder, library=library)


@settings(max_examples=300, deadline=None)
@given(changes=edits)
def test_altered_bytes_of_a_card_are_refused_or_read(folder, tmp_path_factory, changes):
    """Broken JSON, other digits, half a character."""
    other = tmp_path_factory.getbasetemp() / 'card_bytes'
    other.mkdir(exist_ok=True)
    (other / CARD).write_bytes(edited((folder / CARD).read_bytes(), changes))
    use(other)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from([10**400, -HUGE]),
                    st.floats(), st.text(max_size=20))
documents = st.recursive(scalars, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=8)


def places(document, path=()):
    """Return the paths of all values of a document."""
    keys = document if isinstance(document, dict) else \
        range(len(document)) if isinstance(document, list) else ()
    return [path, *(place for key in keys for place in places(document[key], (*path, key)))]


@settings(max_examples=300, deadline=None)
@given(data=st.data(), value=documents, name=st.text(max_size=12))
def test_a_card_with_any_value_in_any_place(folder, tmp_path_factory, data, value, name):
    """Valid JSON whose values are not what they should be."""
    card = json.loads((folder / CARD).read_text())
    path = data.draw(st.sampled_from(places(card)))
    document = {'card': copy.deepcopy(card)}
    parent = document
    for key in ('card', *path)[:-1]:
        parent = parent[key]
    parent[('card', *path)[-1]] = value
    if isinstance(parent, dict):
        parent[name] = value
    other = tmp_path_factory.getbasetemp() / 'card_values'
    other.mkdir(exist_ok=True)
    (other / ONNX).write_bytes((folder / ONNX).read_bytes())
    (other / CARD).write_text(json.dumps(document['card']))
    use(other)


UNIFIED = Card('unified', Architecture('unified', (8, 16, 32)), ImageInput(64, 64),
               ClassNames(('a',), ('background', 'a'), ('b',)))


def safetensors(header, content=bytes(8), length=None):
    """Return a safetensors file with a header as it is given."""
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + content


@pytest.mark.parametrize('content', [
    b'\0' * 7, b'\x80\x04N.', safetensors({}), safetensors({}, length=HUGE),
    safetensors({'w': {'dtype': 'F32', 'shape': [HUGE], 'data_offsets': [0, 8]}}),
    safetensors({'w': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, HUGE]}}),
    safetensors({'w': {'dtype': 'F32', 'shape': [2], 'data_offsets': [8, 0]}}),
    safetensors({'w': {'dtype': 'F32', 'shape': [-2], 'data_offsets': [0, 8]}}),
    safetensors({'w': {'dtype': 'NONE', 'shape': [2], 'data_offsets': [0, 8]}}),
    safetensors({'w': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}}),
    safetensors([1, 2])])
def test_hostile_parameters_are_refused(content, tmp_path):
    """A header that lies, and a pickle in place of parameters."""
    pytest.importorskip('torch')
    weights = save_checkpoint(tmp_path / 'hostile', UNIFIED, b'none', content)
    assert 'model.safetensors' in use(weights.folder, 'torch')


@pytest.mark.parametrize('arguments', [
    {'width': -1}, {'width': HUGE}, {'width': 'wide'}, {'width': None}, {'width': 1.5},
    {'layout': 1}, {'no_such': 1}, {'__class__': 1}, {'two\nlines': 1}])
def test_hostile_arguments_of_a_network_are_refused(arguments, tmp_path):
    """A card names a network of ours and its arguments; nothing else is built."""
    pytest.importorskip('torch')
    folder = save_checkpoint(tmp_path / 'hostile', UNIFIED, b'none', b'none').folder
    document = dict(card_to_json(load_checkpoint(folder).card))
    document['architecture']['arguments'] = arguments
    (folder / CARD).write_text(json.dumps(document))
    assert use(folder, 'torch') != ''


FORBIDDEN = {'pickle', 'cPickle', '_pickle', 'dill', 'cloudpickle', 'joblib', 'marshal', 'shelve',
             'jsonpickle', 'urllib.request', 'requests', 'http.client', 'ftplib', 'torch.hub'}
CALLS = {'eval', 'exec', '__import__', 'compile'}


@pytest.mark.parametrize('path', sorted(str(path.relative_to(ROOT)) for path in
                                        (ROOT / 'mtl_perception').rglob('*.py')))
def test_nothing_unpickles_downloads_or_runs_text(path):
    """A look at all code: torch.load only of plain tensors, numpy without objects."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            assert FORBIDDEN.isdisjoint(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert FORBIDDEN.isdisjoint(
                [node.module, *(f'{node.module}.{alias.name}' for alias in node.names)])
        elif isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            given_true = {keyword.arg for keyword in node.keywords
                          if isinstance(keyword.value, ast.Constant) and keyword.value.value}
            assert text not in CALLS
            assert text != 'torch.load' or 'weights_only' in given_true
            assert 'allow_pickle' not in given_true and 'shell' not in given_true
            assert text not in ('yaml.load', 'yaml.unsafe_load', 'yaml.full_load') or \
                'SafeLoader' in ast.unparse(node)
