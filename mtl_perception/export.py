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
"""Turn weights into a weights folder, once the ONNX graph is shown to compute the same."""

import io
from pathlib import Path
from typing import Optional
import warnings

from mtl_perception.backends.torch_backend import load_network
from mtl_perception.card import Card
from mtl_perception.checkpoint import (
    Checkpoint, load_checkpoint, save_checkpoint, verified_int8)
from mtl_perception.errors import ExportError
from mtl_perception.network.deploy import DeployNetwork
from mtl_perception.preprocess import input_shape
import numpy as np
import onnx
import onnxruntime
from safetensors.torch import save
import torch
from torch import nn

OPSET = 17
TOLERANCE = 5e-3
"""
Largest difference of the prediction tensor that rounding explains.

On a flat picture some features are next to nothing and a norm makes them large, rounding with
them. As a logit it is a thousandth of a probability, as a distance a sixth of a pixel.
"""

CHECKED_SOURCES = ((1, 1), (3, 4), (16, 9))
"""Proportions of the pictures that are compared: one flat and one of noise each."""


def deployed(network: nn.Module, card: Card) -> DeployNetwork:
    """Return ``network`` with the card's normalisation, in evaluation mode."""
    return DeployNetwork(network, card.input.mean, card.input.std).eval()


def onnx_bytes(network: nn.Module, card: Card) -> bytes:
    """
    Return the ONNX graph of ``network``: uint8 RGB ``image`` in, float32 ``prediction`` out.

    It takes pictures of any height and width that are multiples of 32.

    :param network: of the card, on the CPU
    :param card: says the picture's size and its normalisation
    """
    example = torch.zeros(1, card.input.height, card.input.width, 3, dtype=torch.uint8)
    axes = {'image': {1: 'height', 2: 'width'}, 'prediction': {2: 'cells'}}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but the new one needs two more packages and leaves
        # the batch norms unfolded.
        warnings.simplefilter('ignore')
        torch.onnx.export(deployed(network, card), (example,), buffer, input_names=['image'],
                          output_names=['prediction'], opset_version=OPSET, dynamic_axes=axes,
                          dynamo=False)
    model = onnx.load_from_string(buffer.getvalue())
    # The exporter forgets what it need not: which dimensions of the result are always the same.
    batch, channels, _ = model.graph.output[0].type.tensor_type.shape.dim
    batch.dim_value, channels.dim_value = 1, card.layout.channels
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def largest_difference(network: nn.Module, card: Card, content: bytes) -> float:
    """
    Return how far the ONNX graph's prediction is from the network's, over a few pictures.

    :param network: of the card, on the CPU
    :param card: says the picture's size and its normalisation
    :param content: of the ONNX file
    :raises ExportError: if the graph cannot be run or gives another shape or no number
    """
    try:
        session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    except Exception as error:
        reason = ' '.join(str(error).split())[:200]
        raise ExportError(f'expected an ONNX graph that runs, got: {reason}') from None
    rng = np.random.default_rng(0)
    pictures = []
    for rows, columns in CHECKED_SOURCES:
        shape = (1, *input_shape(card.input.height, card.input.width, rows, columns), 3)
        pictures += [np.full(shape, 114, np.uint8), rng.integers(0, 256, shape, np.uint8)]
    worst = 0.0
    reference = deployed(network, card)
    for picture in pictures:
        with torch.inference_mode():
            expected = reference(torch.from_numpy(picture)).numpy()
        found = session.run(['prediction'], {'image': picture})[0]
        if found.shape != expected.shape or not np.isfinite(found).all():
            raise ExportError(f'expected a finite prediction {list(expected.shape)} of the ONNX '
                              f'graph, got {list(found.shape)}')
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst


def export(network: nn.Module, card: Card, folder: Path, int8_onnx: Optional[bytes] = None
           ) -> Checkpoint:
    """
    Write ``network`` as a weights folder.

    :param network: of the card, on the CPU
    :param card: without digests
    :param folder: where to; weights there are replaced
    :param int8_onnx: the same network quantised, to be kept
    :raises ExportError: if the ONNX graph computes something else; nothing is written then
    :raises CheckpointError: if the folder cannot be written
    """
    network = network.eval()
    content = onnx_bytes(network, card)
    difference = largest_difference(network, card, content)
    if not difference < TOLERANCE:
        raise ExportError(f'expected ONNX and torch to agree within {TOLERANCE}, got a largest '
                          f'difference of {difference:.3g}; nothing was written')
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    return save_checkpoint(folder, card, content, save(state), int8_onnx)


def export_weights(source: str, folder: Path) -> Checkpoint:
    """
    Export a weights folder's parameters anew; its int8 graph, if it has one, is kept.

    :param source: name or path of a weights folder
    :param folder: where to
    :raises CheckpointError: if the source is wrong
    :raises ExportError: if the ONNX graph computes something else
    """
    checkpoint = load_checkpoint(source)
    return export(load_network(checkpoint), checkpoint.card, folder, verified_int8(checkpoint))
