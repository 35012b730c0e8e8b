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
Peers, the floor and this package on the same pictures: turn by turn, each in its own process.

Thread pools of different libraries in one process slow each other: the same frame that takes 8 ms
alone took 16 ms there.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
import time
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from mtl_perception.card import Card
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.config import EngineConfig
from mtl_perception.engine import build_engine
from mtl_perception.frame import Frame
from mtl_perception.helper_process import HelperProcess
from mtl_perception.preprocess import input_shape
import numpy as np

OURS = 'this package'
REPORT = 'report, torch'
THREE_TORCH = 'three models, torch'
THREE_ONNX = 'three models, ONNX Runtime'
RATIOS = {REPORT: 'vs_report_pipeline', THREE_TORCH: 'vs_three_models_torch',
          THREE_ONNX: 'vs_three_models_onnx'}
FLOOR = 'floor'
# Of a turn's pictures the first is not timed: it finds the caches full of others' data.
TURN = 6
START_S = 180.0
TURN_S = 60.0
MATMUL_SIDE = 1024
MATMULS = 20


@dataclass(frozen=True)
class Race:
    """
    What a picture takes in each contender's hands, from decoded picture to final arrays.

    :param seconds: by contender, one value a picture
    :param multiply_adds: of our network for such a picture
    :param flops: floating-point operations a second of this machine's float32 matrix product
    :param bfloat16_flops: of its bfloat16 one, where our network runs in that
    """

    seconds: Mapping[str, np.ndarray]
    multiply_adds: int
    flops: float
    bfloat16_flops: Optional[float] = None

    @property
    def floor_ms(self) -> float:
        """Return the time that the network's multiplications alone need in float32."""
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


@dataclass(frozen=True)
class RacePlan:
    """
    What everybody is given.

    :param checkpoint: path of the weights; peers take the numbers of classes
    :param engine: of ours; its number of threads, not 0, is everybody's
    :param pictures: BGR, all of one size
    """

    checkpoint: str
    engine: EngineConfig
    pictures: Sequence[np.ndarray]

    @property
    def card(self) -> Card:
        """Return the weights' card."""
        return load_checkpoint(self.checkpoint).card


def multiply_adds(card: Card, height: int, width: int) -> int:
    """Return the multiply-adds of the card's network for a source picture of that size."""
    from mtl_perception.network import build_network
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    rows, columns = input_shape(card.input.height, card.input.width, height, width)
    network = build_network(card).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, rows, columns))
    return counter.get_total_flops() // 2


def matmul_flops(threads: int, precision: str = 'float32') -> float:
    """
    Return the best rate of a matrix product, operations a second.

    :param precision: ``float32`` or ``bfloat16``
    """
    import torch
    torch.set_num_threads(threads)
    first, second = torch.rand(2, MATMUL_SIDE, MATMUL_SIDE).to(getattr(torch, precision))
    times = []
    for _ in range(MATMULS):
        start = time.perf_counter()
        torch.mm(first, second)
        times.append(time.perf_counter() - start)
    return 2 * MATMUL_SIDE ** 3 / min(times)


def _ours(plan: RacePlan) -> Callable:
    engine = build_engine(load_checkpoint(plan.checkpoint), plan.engine)
    engine.prepare()
    return lambda picture: engine.infer(Frame(picture))


def _peer(name: str, plan: RacePlan) -> Callable:
    from mtl_perception import peers
    import torch
    torch.set_num_threads(plan.engine.num_threads)
    layout = plan.card.layout
    if name == THREE_ONNX:
        return peers.three_models_onnx(layout, plan.pictures[0], plan.engine.num_threads)
    return {REPORT: peers.ReportPipeline, THREE_TORCH: peers.three_models_torch}[name](layout)


def serve_contender(orders: Connection, name: str, plan: RacePlan) -> None:
    """
    Answer pictures until the orders end.

    An order is a list of positions in the plan's pictures, its reply the seconds of all but the
    first.
    """
    answer = _ours(plan) if name == OURS else _peer(name, plan)
    while True:
        seconds = []
        for index in orders.recv():
            start = time.perf_counter()
            answer(plan.pictures[index])
            seconds.append(time.perf_counter() - start)
        orders.send(seconds[1:])


def serve_floor(orders: Connection, plan: RacePlan) -> None:
    """Reply to each order, a precision, with its operations a second; to '' with the count."""
    height, width = plan.pictures[0].shape[:2]
    while True:
        precision = orders.recv()
        orders.send(matmul_flops(plan.engine.num_threads, precision) if precision
                    else multiply_adds(plan.card, height, width))


def run_race(plan: RacePlan, turns: int, with_bfloat16: bool = False,
             on_turn: Callable[[], Any] = lambda: None) -> Race:
    """
    Time the engine and the peers in turn.

    :param turns: of ``TURN`` pictures; one more before them warms up
    :param with_bfloat16: measure that matrix product too
    :param on_turn: called after each turn of all
    """
    precisions = ['float32', 'bfloat16'] if with_bfloat16 else ['float32']
    seconds: Dict[str, list] = {name: [] for name in (OURS, *RATIOS)}
    flops: Dict[str, float] = dict.fromkeys(precisions, 0.0)
    with ExitStack() as stack:
        def helper(*arguments: Any) -> HelperProcess:
            process = HelperProcess(*arguments)
            stack.callback(process.end)
            return process
        contenders = {name: helper(name, serve_contender, name, plan) for name in seconds}
        floor = helper(FLOOR, serve_floor, plan)
        for process in contenders.values():
            process.ask([], START_S)
        operations = floor.ask('', START_S)
        for turn in range(-1, turns):
            positions = [(turn * TURN + index) % len(plan.pictures) for index in range(TURN)]
            for name, process in contenders.items():
                times = process.ask(positions, TURN_S)
                if turn >= 0:
                    seconds[name] += times
            for precision in precisions:
                flops[precision] = max(flops[precision], floor.ask(precision, TURN_S))
            on_turn()
    return Race({name: np.array(values) for name, values in seconds.items()}, operations,
                flops['float32'], flops.get('bfloat16'))
