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
"""Weights that see red and blue: a real graph that needs no training, for tests of the doors."""

from mtl_perception.card import Architecture, Card, ClassNames, ImageInput
from mtl_perception.checkpoint import Checkpoint, save_checkpoint
import numpy as np
import pytest

STRIDE = 8
CARD = Card('colours', Architecture('report', (STRIDE,)), ImageInput(64, 64),
            ClassNames(('red', 'blue'), ('background', 'red', 'blue'), ('dark', 'bright')))
RED = (0, 0, 255)
BLUE = (255, 0, 0)


def save_colour_weights(folder) -> Checkpoint:
    """
    Write the weights and return them; a cell that is red or blue is an object of 16x16 pixels.

    :param folder: where to
    """
    onnx = pytest.importorskip('onnx')
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    channels = CARD.layout.channels
    # Rows: 4 distances, quality, red, blue, background, red, blue, dark, bright; columns R, G, B.
    weight = np.zeros((channels, 3), np.float32)
    bias = np.array([1, 1, 1, 1, 6, -8, -8, 0, -8, -8, 0, -1], np.float32)
    weight[[5, 8]] = 20, -20, -20
    weight[[6, 9]] = -20, -20, 20
    weight[11] = 1, 1, 1

    def constant(name, value):
        return onnx.numpy_helper.from_array(np.asarray(value), name)

    graph = helper.make_graph(
        [helper.make_node('Cast', ['image'], ['float'], to=floats),
         helper.make_node('Transpose', ['float'], ['planes'], perm=[0, 3, 1, 2]),
         helper.make_node('Div', ['planes', 'white'], ['unit']),
         helper.make_node('AveragePool', ['unit'], ['cells'], kernel_shape=[STRIDE, STRIDE],
                          strides=[STRIDE, STRIDE]),
         helper.make_node('Conv', ['cells', 'weight', 'bias'], ['grid']),
         helper.make_node('Reshape', ['grid', 'shape'], ['prediction'])],
        'colours',
        [helper.make_tensor_value_info('image', onnx.TensorProto.UINT8,
                                       [1, 'height', 'width', 3])],
        [helper.make_tensor_value_info('prediction', floats, [1, channels, 'cells'])],
        [constant('white', np.float32(255)), constant('weight', weight[..., None, None]),
         constant('bias', bias), constant('shape', np.array([1, channels, -1]))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.checker.check_model(model)
    return save_checkpoint(folder, CARD, model.SerializeToString(), b'none')


def picture(height=96, width=128, grey=60, **squares) -> np.ndarray:
    """Return a grey picture with a 16x16 square of each colour at its (left, top)."""
    image = np.full((height, width, 3), grey, np.uint8)
    for name, (left, top) in squares.items():
        image[top:top + 16, left:left + 16] = {'red': RED, 'blue': BLUE}[name]
    return image
