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
"""The image subscription: where it listens, how it follows the publishers, what silence means."""

from dataclasses import dataclass
import time
from typing import Any, Callable, List, Sequence

from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

MESSAGE_CLASSES = {'raw': Image, 'compressed': CompressedImage}
TYPE_NAMES = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}
LARGE_DATA = 'LARGE_DATA?max_msg_size=4MB&sockets_size=4MB&non_blocking=true'
FOLLOW_PERIOD_S = 0.5

RELIABILITY_POLICIES = {'reliable': ReliabilityPolicy.RELIABLE,
                        'best_effort': ReliabilityPolicy.BEST_EFFORT}


@dataclass(frozen=True)
class Offer:
    """
    What one publisher offers.

    :param type_name: such as ``sensor_msgs/msg/Image``
    :param reliability: ``reliable`` or ``best_effort``
    """

    type_name: str
    reliability: str


def image_topic(node, transport: str) -> str:
    """
    Return the full name of the topic that carries ``image``, remappings applied.

    As image_transport does, ``compressed`` listens beside the remapped ``image``, unless
    ``image/compressed`` itself is remapped.

    :param transport: ``raw`` or ``compressed``
    """
    base = node.resolve_topic_name('image')
    if transport == 'raw':
        return base
    own = node.resolve_topic_name('image/compressed')
    is_remapped = own != node.resolve_topic_name('image/compressed', only_expand=True)
    return own if is_remapped else f'{base}/compressed'


def choose_reliability(wish: str, current: str, offers: Sequence[Offer]) -> str:
    """
    Return the reliability to ask for.

    :param wish: ``auto``, ``reliable`` or ``best_effort``
    :param current: the one in use, kept while there is nobody to follow
    :param offers: of the publishers of the right type
    """
    if wish != 'auto':
        return wish
    if not offers:
        return current
    return 'reliable' if all(o.reliability == 'reliable' for o in offers) else 'best_effort'


def explain_silence(topic: str, transport: str, reliability: str, offers: Sequence[Offer],
                    other_topics: Sequence[str]) -> str:
    """
    Return why no image may be coming and what to do.

    :param reliability: the one asked for
    :param offers: of all publishers of the topic
    :param other_topics: which carry images as well
    """
    wanted = TYPE_NAMES[transport]
    if not offers:
        seen = f'; topics of that type: {", ".join(other_topics)}' if other_topics else ''
        example = other_topics[0] if other_topics else '/camera/image_raw'
        return (f'no publisher on {topic} ({wanted}){seen}; start the camera or remap, such as '
                f'--ros-args -r image:={example}')
    said = ', '.join(f'{o.reliability} {o.type_name}' for o in offers)
    seen = f'{len(offers)} publisher{"s" if len(offers) > 1 else ""} on {topic} ({said})'
    matching = [offer for offer in offers if offer.type_name == wanted]
    if not matching:
        other = 'compressed' if transport == 'raw' else 'raw'
        hint = f'; set image_transport:={other}' if any(
            o.type_name == TYPE_NAMES[other] for o in offers) else '; remap image'
        return f'{seen}, but {wanted} is expected{hint}'
    if reliability == 'reliable' and all(o.reliability == 'best_effort' for o in matching):
        return f'{seen}, but reliable is asked for; set reliability:=auto'
    return (f'{seen} matched by a {reliability} subscription, but nothing arrives; does the '
            'camera run? Fast DDS loses large frames with its default transports: start both '
            f"ends with FASTDDS_BUILTIN_TRANSPORTS='{LARGE_DATA}' (large_data:=true of the "
            'launch file)')


class ImageInput:
    """
    A subscription to ``image`` whose reliability follows the publishers.

    :param node: that subscribes
    :param transport: ``raw`` or ``compressed``
    :param reliability: ``auto``, ``reliable`` or ``best_effort``
    :param callback: called with each message in the executor's thread
    """

    def __init__(self, node, transport: str, reliability: str, callback: Callable[[Any], None]):
        """Subscribe."""
        self._node = node
        self._transport = transport
        self._wish = reliability
        self._callback = callback
        self._last_arrival = time.monotonic()
        self.topic = image_topic(node, transport)
        # Best effort gets images of every publisher, so the first one need not wait.
        self.reliability = choose_reliability(reliability, 'best_effort', self._matching())
        self._subscription = self._subscribe()
        self._timer = node.create_timer(FOLLOW_PERIOD_S, self._follow,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def silence_s(self) -> float:
        """Return how long ago the last image came, or the subscription began."""
        return time.monotonic() - self._last_arrival

    def explain_silence(self) -> str:
        """Return what is seen of the publishers and what to do."""
        wanted = TYPE_NAMES[self._transport]
        others = sorted(
            name for name, types in self._node.get_topic_names_and_types()
            if wanted in types and self._node.count_publishers(name) and name != self.topic
            and not name.startswith(self._node.get_fully_qualified_name() + '/'))
        return explain_silence(self.topic, self._transport, self.reliability, self._offers(),
                               others)

    def destroy(self) -> None:
        """Stop listening."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self):
        return self._node.create_subscription(
            MESSAGE_CLASSES[self._transport], self.topic, self._receive,
            QoSProfile(depth=1, reliability=RELIABILITY_POLICIES[self.reliability]))

    def _receive(self, message) -> None:
        self._last_arrival = time.monotonic()
        self._callback(message)

    def _offers(self) -> List[Offer]:
        names = {policy: name for name, policy in RELIABILITY_POLICIES.items()}
        return [Offer(info.topic_type, names.get(info.qos_profile.reliability, 'reliable'))
                for info in self._node.get_publishers_info_by_topic(self.topic)]

    def _matching(self) -> List[Offer]:
        return [offer for offer in self._offers()
                if offer.type_name == TYPE_NAMES[self._transport]]

    def _follow(self) -> None:
        reliability = choose_reliability(self._wish, self.reliability, self._matching())
        if reliability != self.reliability:
            self._node.get_logger().info(
                f'{self.topic}: subscribing {reliability}, as its publishers allow')
            self.reliability = reliability
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe()
