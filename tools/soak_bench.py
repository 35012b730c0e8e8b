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
What every check of soak.py stands on: a real node, a camera for it, a count of all that it says.

The client is the one of the tests of the node: what a soak finds can be made a test of.
"""

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from mtl_perception.ros.ages import nanoseconds
from mtl_perception.ros.worker import FrameCounts
import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'test' / 'ros'))

from node_client import (  # noqa: E402, I100 a helper of the tests, which are no package
    image_message, NodeClient, perception, SETTLE_S, STAMPED)

# Frames are answered, however busy the machine is: what is looked for here is not speed.
PATIENT = 'latency_budget_ms:=20000'
ANSWER_S = 10.0
# A writer that keeps fewer loses frames where the machine holds up the node for a moment.
# A camera's and another: the engine makes a graph for such pictures when the first one comes.
SHAPES = (48, 64), (64, 48)
CAMERA_DEPTH = 100


class Subject:
    """
    A node under test, by what it says.

    :param client: that listens
    :param name: of the node; its image is NAME/image
    :param process: it runs in
    """

    def __init__(self, client: 'SoakClient', name: str, process):
        """Listen to it."""
        self.client = client
        self.name = name
        self.process = process
        self.sent = 0
        # By output and stamp in nanoseconds, how many messages came.
        self.heard: Dict[str, Counter] = {output: Counter() for output in STAMPED}
        self.latest: Dict[str, Any] = {}
        self.ages_ms: List[float] = []
        self._base = FrameCounts()
        self._camera = None
        self._subscriptions = [client.hear(message_type, f'/{name}/{output}', self._note(output))
                               for output, message_type in STAMPED.items()]
        client.listen_to_diagnostics()

    @property
    def topic(self) -> str:
        """Return where it listens."""
        return image_topic(self.name)

    def _note(self, output: str):
        def note(message, info) -> None:
            stamp_ns = nanoseconds(message.header.stamp)
            self.heard[output][stamp_ns] += 1
            self.latest[output] = message
            # When it was published, however late this process gets round to it.
            self.ages_ms.append((info['source_timestamp'] - stamp_ns) / 1e6)
        return note

    def leave(self) -> None:
        """Stop listening to it and sending to it."""
        self.client.forget(self._subscriptions, self._camera)

    # Frames

    def connect(self, message_type: type = Image, topic: str = '') -> None:
        """Become its camera; from here on every frame is counted."""
        self._camera = self.client.camera(topic or self.topic, message_type=message_type,
                                          depth=CAMERA_DEPTH)
        deadline = time.monotonic() + ANSWER_S
        while self.client.diagnostics(self.name)[2]['reliability'] != 'reliable':
            assert time.monotonic() < deadline, 'the node does not follow the camera'
        self.client.wait_until(lambda: self._camera.get_subscription_count() == 1,
                               what='one subscriber')

    def count_from_here(self) -> None:
        """Let sent, heard and ``counts`` begin at 0."""
        self._base = self._all_counts()
        self.sent = 0
        self.ages_ms.clear()
        for counter in self.heard.values():
            counter.clear()

    def publish(self, message) -> int:
        """Publish a message with the time of now; return that in nanoseconds."""
        message.header.stamp = self.client.now()
        return self.publish_as_is(message)

    def publish_as_is(self, message) -> int:
        """Publish a message; return its time in nanoseconds."""
        self._camera.publish(message)
        self.sent += 1
        return nanoseconds(message.header.stamp)

    def publish_bytes(self, data: bytes) -> None:
        """Publish what may be no message at all."""
        self._camera.publish(data)

    def is_answered(self, stamp_ns: int, outputs: Sequence[str] = tuple(STAMPED)) -> bool:
        """Tell whether the outputs have answered a frame."""
        return all(self.heard[output][stamp_ns] for output in outputs)

    def wait_for(self, stamp_ns: int, seconds: float = ANSWER_S,
                 outputs: Sequence[str] = tuple(STAMPED)) -> bool:
        """Tell whether the outputs answer a frame in time."""
        self.client.wait_until(lambda: self.is_answered(stamp_ns, outputs), seconds,
                               required=False)
        return self.is_answered(stamp_ns, outputs)

    def ask(self, message, seconds: float = ANSWER_S) -> bool:
        """Tell whether a frame, taken now, is answered in time."""
        return self.wait_for(self.publish(message), seconds)

    def answered(self) -> int:
        """Return how many frames every output answered exactly once."""
        every = set.union(*map(set, self.heard.values()))
        return sum(all(self.heard[output][stamp] == 1 for output in STAMPED) for stamp in every)

    # Accounts

    def counts(self) -> FrameCounts:
        """Return the node's own counts once nothing is under way."""
        return self._all_counts() - self._base

    def _all_counts(self) -> FrameCounts:
        self.client.spin(SETTLE_S)
        deadline = time.monotonic() + ANSWER_S
        while True:
            values = self.client.diagnostics(self.name)[2]
            counts = FrameCounts(**{item.name: int(values[item.name])
                                    for item in fields(FrameCounts)})
            if not counts.pending or time.monotonic() > deadline:
                return counts

    def is_sound(self) -> bool:
        """Tell whether the node lives and no bug of its own came to light."""
        return self.process.is_alive and 'Traceback' not in self.process.output


def image_topic(name: str) -> str:
    """Return where the node of that name listens."""
    return f'/{name}/image'


class SoakClient(NodeClient):
    """The tests' client, and what takes part in many thousand exchanges."""

    def hear(self, message_type: type, topic: str, callback: Callable):
        """Subscribe with a callback that is given the message and what DDS knows of it."""
        return self._node.create_subscription(message_type, topic, callback,
                                              QoSProfile(depth=CAMERA_DEPTH))

    def forget(self, subscriptions: Sequence[Any], publisher: Optional[Any] = None) -> None:
        """Drop subscriptions and a publisher."""
        for subscription in subscriptions:
            self._node.destroy_subscription(subscription)
        if publisher is not None:
            self.remove(publisher)

    @contextmanager
    def service(self, service_type: type, name: str) -> Iterator[Callable[[Any], Any]]:
        """Give a function from request to response, for many in a row."""
        client = self._node.create_client(service_type, name)
        assert client.wait_for_service(ANSWER_S), f'{name}: no such service'
        self.spin(SETTLE_S)

        def call(request):
            future = client.call_async(request)
            self.wait_until(future.done, what=f'response of {name}')
            return future.result()
        try:
            yield call
        finally:
            self._node.destroy_client(client)


@dataclass(frozen=True)
class Bench:
    """
    What a check needs.

    :param client: in the domain of the nodes
    :param checkpoint: name or path of the weights
    :param folder: for files
    :param tick: called with how many of its steps a check has just done
    """

    client: SoakClient
    checkpoint: str
    folder: Path
    tick: Callable[[int], Any] = lambda _: None

    def start(self, name: str, *parameters: str, image: str = '', **environment: str):
        """Start a node as a user does; see ``node_client.perception``."""
        return perception(f'checkpoint:={self.checkpoint}', *parameters, node=name,
                          remap=[f'image:={image or image_topic(name)}'], **environment)

    @contextmanager
    def node(self, name: str, *parameters: str, **options: str) -> Iterator[Subject]:
        """Give a running node that is listened to."""
        with self.start(name, *parameters, **options) as process:
            subject = Subject(self.client, name, process)
            if 'autostart:=false' not in parameters:
                process.wait_for_output('listening')
            try:
                yield subject
            finally:
                subject.leave()

    @contextmanager
    def connected(self, name: str, *parameters: str, **options: str) -> Iterator[Subject]:
        """Give a running node whose camera this process is, and that has answered it."""
        with self.node(name, *parameters, **options) as subject:
            subject.connect()
            for size in SHAPES:
                assert subject.ask(still(*size)), f'{name} does not answer'
            subject.count_from_here()
            yield subject


def still(height: int = 48, width: int = 64) -> Image:
    """Return a small picture."""
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return image_message(picture, Image().header.stamp)
