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
What an ONNX file may hold, read from its bytes without the onnx package.

ONNX Runtime and OpenVINO refuse malformed graphs by themselves, but run a loop without an end for
ever, even while they load, and OpenVINO opens any file that a tensor names. A network's graph has
no loops or branches and holds its tensors itself, so nothing else is let through.
"""

from typing import Iterator, Tuple

from mtl_perception.errors import CheckpointError

# Field numbers of onnx.proto, which never change.
MODEL_GRAPH, MODEL_FUNCTIONS = 7, 25
GRAPH_NODE, GRAPH_TENSOR, GRAPH_SPARSE_TENSOR = 1, 5, 15
NODE_OP_TYPE, NODE_ATTRIBUTE = 4, 5
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
ATTRIBUTE_SPARSE_TENSOR, ATTRIBUTE_SPARSE_TENSORS = 22, 23
TENSOR_EXTERNAL_DATA = 13
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5


def _varint(data: memoryview, place: int) -> Tuple[int, int]:
    """Return the number at ``place`` and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise IndexError('a number of more than 10 bytes')


def _parts(data: memoryview) -> Iterator[Tuple[int, memoryview]]:
    """Yield (field number, content) of each field that holds bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == VARINT:
            _, place = _varint(data, place)
        elif kind == BYTES:
            size, place = _varint(data, place)
            if size > len(data) - place:
                raise IndexError('a field longer than the file')
            yield key >> 3, data[place:place + size]
            place += size
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            place += 8 if kind == EIGHT_BYTES else 4
        else:
            raise IndexError(f'a field of unknown kind {kind}')


def _nested(data: memoryview, *numbers: int) -> Iterator[memoryview]:
    """Yield the contents of the fields at a path of field numbers."""
    for number, content in _parts(data):
        if number == numbers[0]:
            if len(numbers) == 1:
                yield content
            else:
                yield from _nested(content, *numbers[1:])


def _has(data: memoryview, *numbers: int) -> bool:
    """Tell whether there is a field at a path of field numbers."""
    return any(True for _ in _nested(data, *numbers))


def check_straight(content: bytes) -> None:
    """
    Hold an ONNX file to one graph without loops, branches or functions, and to itself.

    :param content: of the file
    :raises CheckpointError: if it is no ONNX file, has any of these, or names other files
    """
    try:
        model = memoryview(content)
        if _has(model, MODEL_FUNCTIONS):
            raise CheckpointError('expected a graph without functions, got some')
        for graph in _nested(model, MODEL_GRAPH):
            _check_graph(graph)
    except IndexError as error:
        raise CheckpointError(
            f'expected an ONNX file, got {len(content)} bytes that are none ({error})') from None


def _check_graph(graph: memoryview) -> None:
    others = _has(graph, GRAPH_TENSOR, TENSOR_EXTERNAL_DATA) or _has(graph, GRAPH_SPARSE_TENSOR)
    for node in _nested(graph, GRAPH_NODE):
        if any(_has(node, NODE_ATTRIBUTE, number) for number in (ATTRIBUTE_GRAPH,
                                                                 ATTRIBUTE_GRAPHS)):
            kinds = [bytes(name).decode('ascii', 'replace')[:40]
                     for name in _nested(node, NODE_OP_TYPE)]
            raise CheckpointError('expected a graph without loops and branches, got '
                                  f'{", ".join(kinds)!r}')
        others = others or any(
            _has(node, NODE_ATTRIBUTE, number, TENSOR_EXTERNAL_DATA)
            for number in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS)) or any(
            _has(node, NODE_ATTRIBUTE, number)
            for number in (ATTRIBUTE_SPARSE_TENSOR, ATTRIBUTE_SPARSE_TENSORS))
    if others:
        raise CheckpointError('expected plain tensors in the file itself, got sparse ones or ones '
                              'in other files')
