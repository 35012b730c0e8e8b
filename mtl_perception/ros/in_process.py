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
"""The same frames through the same engine in one process, without ROS: what DDS adds to."""

from multiprocessing.connection import Connection

from mtl_perception.benchmark import run_benchmark
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.config import EngineConfig
from mtl_perception.engine import build_engine
from mtl_perception.ros.load_camera import load_frames


def serve_in_process(orders: Connection, checkpoint: str, config: EngineConfig, width: int,
                     height: int) -> None:
    """
    Time frames until the orders end.

    An order is a number of frames and their rate in Hz, 0 for one right after the other; its
    reply is their ``Benchmark``.
    """
    engine = build_engine(load_checkpoint(checkpoint), config)
    engine.prepare()
    frames = load_frames(width, height)
    while True:
        count, rate_hz = orders.recv()
        orders.send(run_benchmark(engine, frames, count, rate_hz=rate_hz))
