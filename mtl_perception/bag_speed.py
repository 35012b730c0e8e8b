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
"""How long a bag takes, next to the time that the engine alone takes for its pictures."""

from dataclasses import dataclass
from itertools import islice
import os
from pathlib import Path
import time
from typing import Iterable, Iterator

import cv2
from mtl_perception.bag_run import BagOptions, predict_bag, worker_count
from mtl_perception.bags import (
    bag_message_builder, bag_types, IMAGE_TYPES, new_bag, open_bag, read_messages)
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.config import EngineConfig
from mtl_perception.data.tour import household_tour
from mtl_perception.engine import build_engine, Engine
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
import numpy as np

WIDTH, HEIGHT, RATE_HZ = 640, 480, 30
START_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class BagSpeed:
    """
    Seconds for the same pictures.

    :param frames: pictures
    :param bag_s: from the call of ``predict_bag`` until the new bag is there
    :param engine_s: of ``Engine.infer`` alone, with its default threads
    :param workers: processes that ``predict_bag`` used
    :param cores: that this process may use
    """

    frames: int
    bag_s: float
    engine_s: float
    workers: int
    cores: int

    @property
    def ratio(self) -> float:
        """Return how much more the bag takes than the engine."""
        return self.bag_s / self.engine_s


def _tour_pictures() -> Iterator[np.ndarray]:
    """Yield the committed household frames, resized, over and over."""
    while True:
        video = cv2.VideoCapture(str(household_tour()))
        while (read := video.read())[0]:
            yield cv2.resize(read[1], (WIDTH, HEIGHT))


def write_tour_bag(path: Path, frames: int) -> Path:
    """Write a bag of so many ``bgr8`` pictures of the household tour and return its path."""
    types = bag_types()
    builder = bag_message_builder(load_checkpoint('household').card)
    with new_bag(path, compressed=False) as writer:
        camera = writer.add_connection('/camera/image_raw', IMAGE_TYPES[0], typestore=types)
        for index, picture in enumerate(islice(_tour_pictures(), frames)):
            time_ns = START_NS + index * 10**9 // RATE_HZ
            header = builder.types.Header(
                stamp=types.types['builtin_interfaces/msg/Time'](*divmod(time_ns, 10**9)),
                frame_id='camera')
            writer.write(camera, time_ns, types.serialize_cdr(
                builder.image(header, picture, 'bgr8'), IMAGE_TYPES[0]))
    return path


def _engine_seconds(engine: Engine, frames: Iterable[Frame]) -> Iterator[float]:
    for frame in frames:
        start = time.perf_counter()
        engine.infer(frame)
        yield time.perf_counter() - start


def _frames(bag: Path) -> Iterator[Frame]:
    with open_bag(bag) as reader:
        for connection, _, data in read_messages(reader):
            yield Frame(decode(reader.deserialize(data, connection.msgtype)))


def measure(bag: Path, output: Path, options: BagOptions = BagOptions()) -> BagSpeed:
    """
    Time both: half of the engine's pictures before the bag, half after, as machines change.

    The engine's pictures are read and decoded outside of its time.

    :param bag: of one camera and nothing else
    :param output: of ``predict_bag``
    """
    os.sync()  # what is being written of the bag itself is nobody's time
    engine = build_engine(load_checkpoint(options.checkpoint), EngineConfig(
        options.engine.engine, options.engine.device))
    with open_bag(bag) as reader:
        count = sum(connection.msgcount for connection in reader.connections)
    seconds = _engine_seconds(engine, _frames(bag))
    engine_s = sum(islice(seconds, count // 2))
    start = time.perf_counter()
    predict_bag(bag, output, options)
    bag_s = time.perf_counter() - start
    engine_s += sum(seconds)
    return BagSpeed(count, bag_s, engine_s, worker_count(options, engine.device_name),
                    len(os.sched_getaffinity(0)))
