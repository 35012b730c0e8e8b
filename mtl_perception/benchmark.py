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
"""How long a frame takes on this machine, stage by stage, in one process and without ROS."""

from dataclasses import dataclass
import os
from pathlib import Path
import platform
import time
from typing import Any, Callable, Dict, List, Mapping, Sequence

import cv2
from mtl_perception.bags import bag_message_builder, bag_types
from mtl_perception.config import InferenceSettings
from mtl_perception.engine import Engine
from mtl_perception.frame import Frame
from mtl_perception.image_codec import decode
from mtl_perception.preprocess import input_shape
import numpy as np

WARM_UP_FRAMES = 10
STAGES = ('decode', 'preprocess', 'inference', 'postprocess', 'messages')
END_TO_END = 'end to end'
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Benchmark:
    """
    Times of frames.

    :param seconds: of each stage, and of ``end to end``, one value a frame
    :param conditions: what they were taken under, for people
    """

    seconds: Mapping[str, np.ndarray]
    conditions: Dict[str, Any]

    def milliseconds(self) -> Dict[str, Dict[str, float]]:
        """Return p50, p95, p99 and mean of each stage in milliseconds."""
        return {stage: {**{f'p{q}': float(np.percentile(values, q) * 1e3) for q in (50, 95, 99)},
                        'mean': float(values.mean() * 1e3)}
                for stage, values in self.seconds.items()}


def camera_messages(frames: Sequence[Frame], transport: str) -> List[Any]:
    """
    Return the messages that a camera would send, built before the clock runs.

    :param transport: ``raw`` or ``compressed``
    """
    types = bag_types().types
    header = types['std_msgs/msg/Header'](
        stamp=types['builtin_interfaces/msg/Time'](sec=0, nanosec=0), frame_id='camera')
    if transport == 'raw':
        return [types['sensor_msgs/msg/Image'](
            header=header, height=frame.height, width=frame.width, encoding='bgr8',
            is_bigendian=0, step=3 * frame.width, data=np.ravel(frame.image)) for frame in frames]
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return [types['sensor_msgs/msg/CompressedImage'](
        header=header, format='bgr8; jpeg compressed bgr8',
        data=cv2.imencode('.jpg', frame.image, quality)[1].ravel()) for frame in frames]


def _conditions(engine: Engine, frames: Sequence[Frame], transport: str) -> Dict[str, Any]:
    size = engine.card.input
    shapes = {(frame.height, frame.width): input_shape(size.height, size.width, frame.height,
                                                       frame.width) for frame in frames}
    inputs = {f'{source[1]}x{source[0]}': f'{shape[1]}x{shape[0]}'
              for source, shape in sorted(shapes.items())}
    return {
        'checkpoint': engine.card.name,
        'engine': engine.engine_name,
        'device': engine.device_name,
        'provider': engine.provider,
        'precision': engine.precision,
        'picture_sizes': list(inputs),
        'network_input': inputs,
        'transport': transport,
        'messages': 'built and serialised by rosbags',
        'opencv_threads': cv2.getNumThreads(),
        'cpus': len(os.sched_getaffinity(0)),
        'cpu': _cpu_name(),
        'load_before': round(os.getloadavg()[0], 2),
        'python': platform.python_version(),
    }


def _cpu_name() -> str:
    path = Path('/proc/cpuinfo')
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(':')[2].strip() for line in lines
                 if line.startswith('model name')), platform.machine())


def run_benchmark(engine: Engine, frames: Sequence[Frame], count: int, transport: str = 'raw',
                  settings: InferenceSettings = InferenceSettings(), rate_hz: float = 0.0,
                  on_frame: Callable[[], None] = lambda: None) -> Benchmark:
    """
    Time the path of the node from a message's bytes to the answers' bytes, without DDS.

    :param frames: pictures, taken in turn
    :param count: frames that are timed; a few more before them warm up
    :param transport: how the pictures come, ``raw`` or ``compressed``
    :param rate_hz: of the frames, 0 for one right after the other. A camera leaves pauses, and
        after one the processor's caches are cold and its threads asleep.
    :param on_frame: called after each
    """
    conditions = _conditions(engine, frames, transport)
    messages = camera_messages(frames, transport)
    builder, serialize = bag_message_builder(engine.card), bag_types().serialize_cdr
    seconds: Dict[str, List[float]] = {stage: [] for stage in (*STAGES, END_TO_END)}
    begin = time.perf_counter()
    for index in range(-WARM_UP_FRAMES, count):
        if rate_hz:
            due = begin + (WARM_UP_FRAMES + index) / rate_hz
            time.sleep(max(0.0, due - time.perf_counter()))
        message = messages[index % len(messages)]
        start = time.perf_counter()
        frame = Frame(decode(message), 0, message.header.frame_id)
        decoded = time.perf_counter()
        prediction = engine.infer(frame, settings)
        inferred = time.perf_counter()
        for _ in builder.serialized_answers(message.header, prediction, serialize):
            pass
        end = time.perf_counter()
        if index >= 0:
            times = {'decode': decoded - start, **prediction.stage_seconds,
                     'messages': end - inferred, END_TO_END: end - start}
            for stage, value in times.items():
                seconds[stage].append(value)
        on_frame()
    return Benchmark({stage: np.array(values) for stage, values in seconds.items()},
                     {**conditions, 'frames': count})
