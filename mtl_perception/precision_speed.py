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
"""How long the network takes in each precision on this machine's CPU: turn by turn."""

from dataclasses import dataclass
import time
from typing import Any, Callable, Dict, Mapping, Sequence

from mtl_perception.backends import Backend, open_backend
from mtl_perception.checkpoint import Checkpoint
from mtl_perception.config import PRECISIONS
from mtl_perception.errors import DeviceError
from mtl_perception.preprocess import input_shape, Letterbox
import numpy as np

WARM_UP_ROUNDS = 5


@dataclass(frozen=True)
class PrecisionSpeed:
    """
    Times of the network alone.

    :param seconds: by precision, one value a picture; of those that can be had
    :param providers: what runs each
    """

    seconds: Mapping[str, np.ndarray]
    providers: Mapping[str, str]

    def milliseconds(self) -> Dict[str, Dict[str, float]]:
        """Return p50, p95 and p99 of each precision in milliseconds."""
        return {name: {f'p{q}': float(np.percentile(values, q) * 1e3) for q in (50, 95, 99)}
                for name, values in self.seconds.items()}

    def ratios(self) -> Dict[str, float]:
        """Return how many times as fast int8 is as float32 (medians); {} where there is none."""
        if 'int8' not in self.seconds:
            return {}
        return {'int8_speedup': float(np.median(self.seconds['float32'])
                                      / np.median(self.seconds['int8']))}


def _backends(checkpoint: Checkpoint, threads: int) -> Dict[str, Backend]:
    backends = {}
    for precision in PRECISIONS[1:]:
        try:
            backends[precision] = open_backend('onnx', checkpoint, 'cpu', threads, precision)
        except DeviceError:
            continue
    return backends


def run_precision_speed(checkpoint: Checkpoint, pictures: Sequence[np.ndarray], rounds: int,
                        threads: int, on_round: Callable[[], Any] = lambda: None
                        ) -> PrecisionSpeed:
    """
    Time the network on each picture in every precision that can be had here, in turn.

    :param pictures: BGR, taken in turn
    :param rounds: pictures that are timed; a few more before them warm up
    :param threads: CPU threads, 0 for all
    :param on_round: called after each picture
    """
    size = checkpoint.card.input
    batches = [Letterbox(*input_shape(size.height, size.width, *picture.shape[:2]),
                         size.pad_value)(picture)[0][None] for picture in pictures]
    backends = _backends(checkpoint, threads)
    seconds: Dict[str, list] = {name: [] for name in backends}
    for index in range(-WARM_UP_ROUNDS, rounds):
        for name, backend in backends.items():
            start = time.perf_counter()
            backend.run(batches[index % len(batches)])
            if index >= 0:
                seconds[name].append(time.perf_counter() - start)
        on_round()
    return PrecisionSpeed({name: np.array(values) for name, values in seconds.items()},
                          {name: backend.provider for name, backend in backends.items()})
