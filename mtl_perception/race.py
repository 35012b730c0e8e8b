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
"""Peers, the floor and this package on the same pictures: turn by turn, in one process."""

from dataclasses import dataclass
import time
from typing import Any, Callable, Dict, Mapping, Sequence

from mtl_perception.card import Card
from mtl_perception.engine import Engine
from mtl_perception.frame import Frame
from mtl_perception.network import build_network
from mtl_perception.peers import Peer, ReportPipeline, three_models_onnx, three_models_torch
from mtl_perception.preprocess import input_shape
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

OURS = 'this package'
REPORT = 'report, torch'
THREE_TORCH = 'three models, torch'
THREE_ONNX = 'three models, ONNX Runtime'
RATIOS = {REPORT: 'vs_report_pipeline', THREE_TORCH: 'vs_three_models_torch',
          THREE_ONNX: 'vs_three_models_onnx'}
WARM_UP_ROUNDS = 2
MATMUL_SIDE = 1024
MATMULS = 20


@dataclass(frozen=True)
class Race:
    """
    What a picture takes in each contender's hands, from decoded picture to final arrays.

    :param seconds: by contender, one value a picture
    :param multiply_adds: of our network for such a picture
    :param flops: floating-point operations a second of this machine's matrix product
    """

    seconds: Mapping[str, np.ndarray]
    multiply_adds: int
    flops: float

    @property
    def floor_ms(self) -> float:
        """Return the time that the network's multiplications alone need."""
        return 2e3 * self.multiply_adds / self.flops

    def milliseconds(self) -> Dict[str, Dict[str, float]]:
        """Return p50, p95 and p99 of each contender in milliseconds."""
        return {name: {f'p{q}': float(np.percentile(values, q) * 1e3) for q in (50, 95, 99)}
                for name, values in self.seconds.items()}

    def ratios(self) -> Dict[str, float]:
        """Return how many times as long as ours each takes, and ours over the floor (medians)."""
        ours = float(np.median(self.seconds[OURS]))
        return {**{key: float(np.median(self.seconds[name])) / ours
                   for name, key in RATIOS.items()},
                'over_floor': 1e3 * ours / self.floor_ms}


def multiply_adds(card: Card, height: int, width: int) -> int:
    """Return the multiply-adds of the card's network for a source picture of that size."""
    rows, columns = input_shape(card.input.height, card.input.width, height, width)
    network = build_network(card).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, rows, columns))
    return counter.get_total_flops() // 2


def matmul_flops(threads: int) -> float:
    """Return the best rate of a float32 matrix product, operations a second."""
    torch.set_num_threads(threads)
    first, second = torch.rand(2, MATMUL_SIDE, MATMUL_SIDE)
    times = []
    for _ in range(MATMULS):
        start = time.perf_counter()
        torch.mm(first, second)
        times.append(time.perf_counter() - start)
    return 2 * MATMUL_SIDE ** 3 / min(times)


def run_race(engine: Engine, pictures: Sequence[np.ndarray], rounds: int, threads: int,
             on_picture: Callable[[], Any] = lambda: None) -> Race:
    """
    Time the engine and the peers in turn on each picture.

    :param pictures: BGR, all of one size
    :param rounds: pictures that are timed; a few more before them warm up
    :param threads: of everybody
    :param on_picture: called after each
    """
    layout = engine.card.layout
    torch.set_num_threads(threads)
    contenders: Dict[str, Peer] = {
        OURS: lambda picture: engine.infer(Frame(picture)), REPORT: ReportPipeline(layout),
        THREE_TORCH: three_models_torch(layout),
        THREE_ONNX: three_models_onnx(layout, pictures[0], threads)}
    seconds: Dict[str, list] = {name: [] for name in contenders}
    for index in range(-WARM_UP_ROUNDS, rounds):
        picture = pictures[index % len(pictures)]
        for name, answer in contenders.items():
            start = time.perf_counter()
            answer(picture)
            if index >= 0:
                seconds[name].append(time.perf_counter() - start)
        on_picture()
    return Race({name: np.array(values) for name, values in seconds.items()},
                multiply_adds(engine.card, *pictures[0].shape[:2]), matmul_flops(threads))
