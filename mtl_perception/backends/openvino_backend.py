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
"""OpenVINO on a CPU: the same graph as ONNX Runtime's, in float32, bfloat16 or int8."""

from concurrent.futures import ThreadPoolExecutor
import ctypes
from functools import lru_cache
from io import BytesIO
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from mtl_perception.backends.common_shapes import common_shapes, Shape
from mtl_perception.backends.graph_checks import (
    graph_bytes, graph_path, not_loadable, require_signature, Signature, try_out)
from mtl_perception.checkpoint import Checkpoint
from mtl_perception.errors import CheckpointError
import numpy as np
import openvino
from openvino.frontend import FrontEndManager

# OpenVINO's word for a precision, and the instructions that multiply such numbers: without them
# it emulates bfloat16, and int8 is slower than float32.
HINT = 'INFERENCE_PRECISION_HINT'
HINTS = {'float32': 'f32', 'bfloat16': 'bf16'}
CAPABILITIES = {'bfloat16': 'BF16', 'int8': 'INT8'}
INSTRUCTIONS = {'bfloat16': {'avx512_bf16', 'amx_bf16'}, 'int8': {'avx512_vnni', 'avx_vnni'}}
CPU_INFO = Path('/proc/cpuinfo')
ELEMENTS = {'u8': 'uint8', 'f32': 'float32'}


class OpenVinoBackend:
    """
    A verified graph, compiled for each common shape of picture and once for all others.

    A graph of one's own is a fifth faster. Each takes 30 MB of memory and a tenth of a second, so
    only the common ones are compiled ahead, and the other when the first such picture comes.
    """

    name = 'onnx'
    device = 'cpu'

    def __init__(self, path: Path, model: openvino.Model, options: Mapping[str, Any],
                 precision: str, common: Sequence[Shape]):
        """
        Take the graph; it is compiled when it is needed.

        :param path: of the graph's file, for errors
        :param options: of OpenVINO
        :param precision: ``float32``, ``bfloat16`` or ``int8``
        :param common: shapes ``[1, H, W, 3]`` that are worth a graph of their own
        """
        self.precision = precision
        self._path, self._model, self._options, self._common = path, model, options, common
        self._requests: Dict[Optional[Shape], openvino.InferRequest] = {}
        self._last_uncommon: Optional[Shape] = None

    @property
    def provider(self) -> str:
        """Return such as ``OpenVINO bfloat16`` or ``OpenVINO int8 and float32``."""
        rest = '' if self.precision != 'int8' else \
            ' and bfloat16' if self._options[HINT] == HINTS['bfloat16'] else ' and float32'
        return f'OpenVINO {self.precision}{rest}'

    def _compile(self, shape: Optional[Shape]) -> openvino.InferRequest:
        model = self._model
        try:
            if shape:
                model = model.clone()
                model.reshape(list(shape))
            return _core().compile_model(model, 'CPU', self._options).create_infer_request()
        except Exception as error:  # the library's exceptions share no base class
            raise not_loadable(self._path, 'OpenVINO', error) from None

    def prepare(self) -> None:
        """Compile for the common shapes now, so that no such picture waits for that."""
        missing = [shape for shape in self._common if shape not in self._requests]
        with ThreadPoolExecutor(max(1, len(missing))) as pool:
            self._requests.update(zip(missing, pool.map(self._compile, missing)))
        _give_back_freed_memory()

    def run(self, images: np.ndarray) -> np.ndarray:
        """
        Return float32 ``[1, C, N]`` for uint8 ``[1, H, W, 3]``.

        Neither is copied: the result is OpenVINO's own memory, and the next run writes over it.
        """
        shape = images.shape if images.shape in self._common else None
        if shape not in self._requests:
            self._requests[shape] = self._compile(shape)
        result = self._requests[shape].infer(
            {0: images}, share_inputs=True, share_outputs=True)[0]
        if shape is None and images.shape != self._last_uncommon:
            self._last_uncommon = images.shape
            _give_back_freed_memory()
        return result


def _give_back_freed_memory() -> None:
    """
    Have the C library return what is freed to the system, where it can (glibc).

    Compiling leaves 12 MB that nobody uses. And for each change of shape OpenVINO takes and frees
    a thousand small blocks, between which holes stay: after some thousand shapes a tenth of the
    process's memory.
    """
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim:
        trim(0)


@lru_cache(maxsize=None)
def _core() -> openvino.Core:
    return openvino.Core()


def capabilities() -> List[str]:
    """Return what OpenVINO says of this CPU, such as ``BF16`` and ``INT8``; [] without one."""
    core = _core()
    if 'CPU' not in core.available_devices:
        return []
    return core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


def gains_from(precision: str) -> bool:
    """
    Tell whether this CPU has instructions for such numbers, and OpenVINO uses them.

    :param precision: ``bfloat16`` or ``int8``
    """
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith('flags')), '').split()
    return CAPABILITIES[precision] in capabilities() \
        and not INSTRUCTIONS[precision].isdisjoint(flags)


def _signature(model: openvino.Model) -> Signature:
    return {value.get_any_name() if value.get_names() else '': (
        ELEMENTS.get(value.element_type.get_type_name(), value.element_type.get_type_name()),
        [size.get_length() if size.is_static else None for size in value.partial_shape]
        if value.partial_shape.rank.is_static else [])
        for value in (*model.inputs, *model.outputs)}


def open_network(checkpoint: Checkpoint, device: str, num_threads: int, precision: str
                 ) -> OpenVinoBackend:
    """
    Return the checkpoint's graph, compiled.

    :param device: ``cpu``
    :param precision: ``float32``, ``bfloat16`` or ``int8``
    :raises DeviceError: if the weights have no graph of that precision
    :raises CheckpointError: if the graph is altered, malformed or does not fit the card
    """
    path, content = graph_path(checkpoint, precision), graph_bytes(checkpoint, precision)
    rest = precision if precision != 'int8' else \
        'bfloat16' if gains_from('bfloat16') else 'float32'
    options = {
        HINT: HINTS[rest],
        'INFERENCE_NUM_THREADS': num_threads or len(os.sched_getaffinity(0)),
        'PERFORMANCE_HINT': 'LATENCY', 'NUM_STREAMS': 1,
        # Decoding and DDS may need the core that a pinned thread would stay on.
        'ENABLE_CPU_PINNING': False,
        # Kernels of every shape that ever came would be kept.
        'CPU_RUNTIME_CACHE_CAPACITY': 0}
    try:
        # Not whatever format OpenVINO takes the bytes for: it reads half a dozen.
        reader = FrontEndManager().load_by_framework('onnx')
        model = reader.convert(reader.load(BytesIO(content)))
        require_signature(_signature(model), checkpoint, path)
    except CheckpointError:
        raise
    except Exception as error:  # the library's exceptions share no base class
        raise not_loadable(path, 'OpenVINO', error) from None
    common = common_shapes(checkpoint.card)
    backend = OpenVinoBackend(path, model, options, precision, common)
    try_out(backend, checkpoint, path, common[0])
    return backend
