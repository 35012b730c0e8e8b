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
An int8 graph of a network, calibrated on pictures.

Only the weights of 1x1 convolutions and what goes into them are quantised: those are matrix
products, where int8 instructions gain most. The depthwise ones and all sums are computed in
float32. Quantised throughout, the network is slower and loses 12 points of mIoU.
"""

from pathlib import Path
import random
import tempfile
from typing import Callable, Iterable, Iterator, List

from mtl_perception.card import Card
from mtl_perception.checkpoint import (
    Checkpoint, ONNX, SAFETENSORS, save_checkpoint, verified_bytes)
from mtl_perception.data.voc import VocDataset
from mtl_perception.errors import ExportError
from mtl_perception.preprocess import input_shape, Letterbox
import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader, CalibrationMethod, QuantFormat, quantize_static, QuantType)

SPLIT = 'train'
SEED = 0
CHECKED_FRAMES = 3


class _Pictures(CalibrationDataReader):
    """Hand out the pictures one by one, as the quantiser wants them."""

    def __init__(self, pictures: Iterable[np.ndarray]):
        self._left: Iterator[np.ndarray] = iter(pictures)

    def get_next(self):
        """Return the graph's next inputs, None at the end."""
        picture = next(self._left, None)
        return None if picture is None else {'image': picture[None]}


def network_picture(image: np.ndarray, card: Card) -> np.ndarray:
    """
    Return a picture as the network is given it.

    :param image: uint8 ``[H, W, 3]``, BGR
    :return: uint8 ``[h, w, 3]``, RGB, of the proportions of ``image``
    """
    shape = input_shape(card.input.height, card.input.width, *image.shape[:2])
    return Letterbox(*shape, card.input.pad_value)(image)[0]


def _pixel_convolutions(model: onnx.ModelProto, card: Card) -> List[str]:
    """Return the names of the 1x1 convolutions over more than one pixel."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for place, size in ((1, card.input.height), (2, card.input.width)):
        fixed.graph.input[0].type.tensor_type.shape.dim[place].dim_value = size
    graph = onnx.shape_inference.infer_shapes(fixed).graph
    sizes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
             for value in graph.value_info}
    kernels = {item.name: list(item.dims) for item in graph.initializer}
    return [node.name for node in graph.node if node.op_type == 'Conv'
            and kernels[node.input[1]][2:] == [1, 1] and sizes[node.input[0]][2:] != [1, 1]]


def quantised(content: bytes, card: Card, pictures: Iterable[np.ndarray]) -> bytes:
    """
    Return the int8 graph of a float32 one; picture in and prediction out stay what they are.

    :param content: of the ONNX file, its nodes named
    :param card: of the network
    :param pictures: of :func:`network_picture`; what they show should be what cameras show
    :raises ExportError: if there is nothing to quantise
    """
    model = onnx.load_from_string(content)
    nodes = _pixel_convolutions(model, card)
    if not nodes:
        raise ExportError('expected convolutions of 1x1 pixels to quantise, got none')
    # The quantiser's word for it: the exporter has folded what can be folded.
    model.metadata_props.add(key='onnx.quant.pre_process', value='onnxruntime.quant')
    with tempfile.TemporaryDirectory(prefix='quantisation_') as folder:
        path = Path(folder) / 'int8.onnx'
        quantize_static(
            model, path, _Pictures(pictures), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=['Conv'], nodes_to_quantize=nodes,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={'OpTypesToExcludeOutputQuantization': ['Conv']})
        return path.read_bytes()


def require_sane(content: bytes, card: Card, pictures: Iterable[np.ndarray]) -> None:
    """
    Hold a quantised graph to finite predictions of the right shape.

    :param content: of its ONNX file
    :param card: of the network
    :param pictures: of :func:`network_picture`
    :raises ExportError: if it cannot be run, or gives another shape or no numbers
    """
    try:
        session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
        answers = [(picture, session.run(['prediction'], {'image': picture[None]})[0])
                   for picture in pictures]
    except Exception as error:  # the runtime's exceptions share no base class
        raise ExportError('expected an int8 graph that runs, got: '
                          f'{" ".join(str(error).split())[:200]}; '
                          'calibrate it again') from None
    for picture, found in answers:
        expected = 1, card.layout.channels, card.with_input(*picture.shape[:2]).cells
        if found.shape != expected or not np.isfinite(found).all():
            raise ExportError(f'expected a finite prediction {list(expected)} of the int8 graph, '
                              f'got {list(found.shape)}; calibrate it again')


def add_int8(checkpoint: Checkpoint, data: Path, frames: int,
             progress: Callable[[List[int]], Iterable[int]] = iter) -> Checkpoint:
    """
    Write an int8 graph beside the weights' others, and return them.

    :param checkpoint: whose folder is rewritten
    :param data: root of a data set in VOC layout; frames of its training split calibrate
    :param frames: how many, drawn alike every time
    :param progress: wraps the numbers of the frames, to show how far it is
    :raises DatasetError: if the split or one of its pictures is missing
    :raises ExportError: if the graph cannot be quantised or gives no sane predictions
    :raises CheckpointError: if the weights are altered or the folder cannot be written
    """
    card, dataset = checkpoint.card, VocDataset(data, SPLIT, checkpoint.card.classes, ())
    numbers = random.Random(SEED).sample(range(len(dataset)), min(frames, len(dataset)))
    content = verified_bytes(checkpoint, ONNX)
    int8 = quantised(content, card, (network_picture(dataset[number].image, card)
                                     for number in progress(numbers)))
    require_sane(int8, card, [network_picture(dataset[number].image, card)
                              for number in numbers[:CHECKED_FRAMES]])
    return save_checkpoint(checkpoint.folder, card, content,
                           verified_bytes(checkpoint, SAFETENSORS), int8)
