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
"""Camera, node and listener: three processes over DDS, and a run of frames through them."""

from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
import os
from pathlib import Path
import time
from typing import Any, Dict, List, Tuple

from mtl_perception.benchmark import END_TO_END
from mtl_perception.config import EngineConfig
from mtl_perception.errors import PerceptionError
from mtl_perception.helper_process import HelperProcess
from mtl_perception.ros.child import Child
from mtl_perception.ros.diagnostics import STAGES
from mtl_perception.ros.in_process import serve_in_process
from mtl_perception.ros.load_camera import serve_camera, TOPIC
from mtl_perception.ros.load_figures import Run
from mtl_perception.ros.load_listener import DIAGNOSTICS, Heard, serve_listener
from mtl_perception.ros.worker import FrameCounts
import numpy as np

START_S = 30.0
CONNECT_S = 15.0
REPLY_S = 20.0
# What is under way may still arrive.
SETTLE_S = 0.3
LISTENS = 'listening to'
POLL_S = 0.01
LOOK_S = 0.2
START_HZ = 30.0
START_FRAMES = 100
BURST = 30
FROM_NODE = ('engine', 'device', 'provider', 'reliability')


class LineError(PerceptionError):
    """The node ended or stays silent."""


class NodeChild(Child):
    """The node as a user starts it, and what Linux knows of its process."""

    def cpu_s(self) -> float:
        """Return the processor time that it has taken."""
        fields = self._read('stat').rpartition(')')[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')

    def resident_mb(self) -> float:
        """Return how much of it is in memory, in 10**6 bytes."""
        return int(self._read('statm').split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6

    def has_loaded(self, library: str) -> bool:
        """Tell whether a file with such a name is mapped into its memory."""
        return any(library in Path(line.split()[-1]).name
                   for line in self._read('maps').splitlines())

    def _read(self, name: str) -> str:
        self.check()
        try:
            return Path(f'/proc/{self._process.pid}/{name}').read_text()
        except OSError:
            self.check()
            raise

    def has_said(self, text: str) -> bool:
        """Tell whether a text is in its log."""
        return text in self._log.read_text(errors='replace')

    def check(self) -> None:
        """
        Do nothing while it runs.

        :raises LineError: if it has ended
        """
        if self.status is not None:
            raise LineError(f'expected {self.name} to run, got its end with status {self.status}: '
                            f'{self.last_lines(1)}')


class NotConnectedError(LineError):
    """The node runs, but the processes did not find one another."""


@dataclass(frozen=True)
class LinePlan:
    """
    What runs.

    :param namespace: of all topics
    :param checkpoint: name or path of the weights
    :param engine: what runs them; its number of threads is not 0
    :param width: of the pictures
    :param height: of the pictures
    """

    namespace: str
    checkpoint: str
    engine: EngineConfig
    width: int
    height: int


class LoadLine:
    """
    The three processes and, for comparison, a fourth that runs the engine without ROS.

    All take this process's environment of now. Use it as a context; it ends what it started.

    ``conditions`` tells what is known of them.

    :param plan: what runs
    :param folder: of the node's log
    """

    def __init__(self, plan: LinePlan, folder: Path):
        """Prepare; ``__enter__`` starts the helpers, ``start_node`` the node."""
        self._plan = plan
        self._stack = ExitStack()
        self._counts = FrameCounts()
        self.conditions: Dict[str, Any] = {}
        engine, space = plan.engine, plan.namespace
        self._node = NodeChild('mtl_perception.ros.node', [
            '--ros-args', '-p', f'checkpoint:={plan.checkpoint}', '-p',
            f'engine:={engine.engine}', '-p', f'device:={engine.device}', '-p',
            f'num_threads:={engine.num_threads}', '-p', f'precision:={engine.precision}', '-r',
            f'__ns:={space}', '-r',
            f'image:={space}/{TOPIC}', '-r', f'/diagnostics:={space}/{DIAGNOSTICS}'],
            folder / 'perception_node.log')

    def __enter__(self) -> 'LoadLine':
        """Start camera, listener and the process without ROS."""
        plan = self._plan
        with self._stack:
            self._alone = self._helper('in-process', serve_in_process, plan.checkpoint,
                                       plan.engine, plan.width, plan.height)
            self._camera = self._helper('camera', serve_camera, plan.namespace, plan.width,
                                        plan.height)
            self._listener = self._helper('listener', serve_listener, plan.namespace)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        """End them all."""
        self._stack.close()

    def _helper(self, *arguments: Any) -> HelperProcess:
        helper = HelperProcess(*arguments)
        self._stack.callback(helper.end)
        return helper

    def burst(self, rate_hz: float = 0.0) -> List[float]:
        """
        Return the times in ms of some frames in one process, while the node rests.

        :param rate_hz: of the frames, 0 for one right after the other
        """
        benchmark = self._alone.ask((BURST, rate_hz), START_S)
        self.conditions.update(benchmark.conditions)
        return (1e3 * benchmark.seconds[END_TO_END]).tolist()

    def start_node(self) -> Dict[str, Any]:
        """
        Start the node while the camera plays.

        :return: seconds from the process's start to active and to the first answer, memory after
            100 frames, whether torch was loaded
        :raises LineError: if it does not come up
        :raises NotConnectedError: if it does, but is not heard of
        """
        self._listener.ask(0, REPLY_S)  # it is there
        self._camera.tell((START_HZ, START_S + CONNECT_S))
        self._stack.callback(self._node.end)
        start_ns = time.time_ns()
        deadline = time.monotonic() + START_S
        self._node.start()
        while not self._node.has_said(LISTENS):
            if not self._has_time(deadline):
                raise LineError(f'expected the node to be active within {START_S:.0f} s, got no '
                                f'sign of it; its last line: {self._node.last_lines(1)}')
            time.sleep(POLL_S)
        active_ns = time.time_ns()
        answered: Dict[int, int] = {}
        deadline = time.monotonic() + CONNECT_S
        while len(answered) < START_FRAMES:
            if not self._has_time(deadline):
                raise NotConnectedError(
                    f'expected answers to {START_FRAMES} frames within {CONNECT_S:.0f} s, got '
                    f'{len(answered)}; is the machine busy, or multicast blocked?')
            time.sleep(LOOK_S)
            answered.update(self._listener.ask(0, REPLY_S).answered_ns)
        resident_mb = self._node.resident_mb()
        self._camera.tell('enough')
        self._camera.reply(REPLY_S)
        self._counts, _ = self._settle()
        return {'active_s': (active_ns - start_ns) / 1e9,
                'first_answer_s': (min(answered.values()) - start_ns) / 1e9,
                'resident_mb': resident_mb, 'torch_loaded': self._node.has_loaded('libtorch')}

    def _has_time(self, deadline: float) -> bool:
        self._node.check()
        return time.monotonic() < deadline

    def measure(self, rate_hz: float, seconds: float) -> Run:
        """Return what became of the frames that the camera plays, and what it took."""
        cpu_s, start = self._node.cpu_s(), time.monotonic()
        stamps = self._play(rate_hz, seconds)
        cpu_percent = 100 * (self._node.cpu_s() - cpu_s) / (time.monotonic() - start)
        before = self._counts
        self._counts, heard = self._settle()
        return replace(
            self._run(rate_hz, seconds, stamps, heard), counts=self._counts - before,
            cpu_percent=cpu_percent, resident_mb=self._node.resident_mb(),
            stages_ms={stage: float(heard.values[f'{stage}_p50_ms']) for stage in STAGES
                       if f'{stage}_p50_ms' in heard.values})

    def try_rate(self, rate_hz: float, seconds: float) -> Run:
        """Return the same without the node's own account."""
        stamps = self._play(rate_hz, seconds)
        time.sleep(SETTLE_S)
        return self._run(rate_hz, seconds, stamps, self._listener.ask(0, REPLY_S))

    def _play(self, rate_hz: float, seconds: float) -> List[int]:
        return self._camera.ask((rate_hz, seconds), seconds + REPLY_S)

    def _run(self, rate_hz: float, seconds: float, stamps: List[int], heard: Heard) -> Run:
        latencies_ms = np.array([(heard.answered_ns[stamp] - stamp) / 1e6 for stamp in stamps
                                 if stamp in heard.answered_ns])
        return Run(round(rate_hz * seconds), len(stamps), seconds, latencies_ms)

    def _settle(self) -> Tuple[FrameCounts, Heard]:
        """Return the node's counts, and what was heard, once nothing is under way."""
        self._node.check()
        heard = self._listener.ask(time.time_ns() + round(1e9 * SETTLE_S), REPLY_S)
        self.conditions.update({name: heard.values[name] for name in FROM_NODE})
        return FrameCounts(**{item.name: int(heard.values[item.name])
                              for item in fields(FrameCounts)}), heard
