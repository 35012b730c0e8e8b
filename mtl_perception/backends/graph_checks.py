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
"""What every library's ONNX graph must satisfy before it runs: whichever loads it."""

from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

from mtl_perception.backends import Backend
from mtl_perception.backends.common_shapes import Shape
from mtl_perception.checkpoint import Checkpoint, INT8_ONNX, ONNX, verified_bytes
from mtl_perception.errors import CheckpointError, DeviceError
from mtl_perception.onnx_graph import check_straight
import numpy as np

# By name: element type, and each dimension's size, None where it depends on the picture.
Signature = Mapping[str, Tuple[str, List[Optional[int]]]]


def graph_path(checkpoint: Checkpoint, precision: str) -> Path:
    """Return the path of the graph that is run with ``precision``."""
    return checkpoint.folder / (INT8_ONNX if precision == 'int8' else ONNX)


def graph_bytes(checkpoint: Checkpoint, precision: str) -> bytes:
    """
    Return the verified bytes of the graph that is run with ``precision``.

    :raises DeviceError: if it is int8 and the weights have no such graph
    :raises CheckpointError: if the file is altered, or no straight graph
    """
    path = graph_path(checkpoint, precision)
    if precision == 'int8' and INT8_ONNX not in checkpoint.card.files:
        raise DeviceError(f'expected {path} for precision int8, got none; make it with '
                          '`export --calibrate DATA` or use another precision')
    content = verified_bytes(checkpoint, path.name)
    try:
        check_straight(content)
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {error}; export the weights again') from None
    return content


def not_loadable(path: Path, library: str, error: Exception) -> CheckpointError:
    """Return the error of a library that refuses a graph, in one line."""
    reason = ' '.join(str(error).split())[:200]
    return CheckpointError(f'{path}: expected a graph that {library} loads, got: {reason}; '
                           'export the weights again')


def require_signature(found: Signature, checkpoint: Checkpoint, path: Path) -> None:
    """
    Hold a graph to one picture in and one prediction tensor out.

    :raises CheckpointError: if it takes or gives anything else
    """
    expected: Signature = {
        'image': ('uint8', [1, None, None, 3]),
        'prediction': ('float32', [1, checkpoint.card.layout.channels, None])}
    if found != expected:
        raise CheckpointError(f'{path}: expected {expected} from its card, got {found}; '
                              'export the weights again')


def try_out(backend: Backend, checkpoint: Checkpoint, path: Path, shape: Shape) -> None:
    """
    Look at a blank picture: what a graph declares need not be what it does.

    :param shape: ``[1, H, W, 3]``, best a common one, so that what this prepares is of use
    :raises CheckpointError: if the prediction has not the shape that the card implies
    :raises DeviceError: if the device is lost
    """
    card = checkpoint.card.with_input(*shape[1:3])
    expected = 1, card.layout.channels, card.cells
    found: Any
    try:
        found = backend.run(np.zeros(shape, np.uint8)).shape
    except DeviceError:
        raise
    except Exception as error:  # the libraries' exceptions share no base class
        found = ' '.join(str(error).split())[:200]
    if found != expected:
        raise CheckpointError(f'{path}: expected a prediction of shape {expected} from a blank '
                              f'picture, got {found}; export the weights again')
