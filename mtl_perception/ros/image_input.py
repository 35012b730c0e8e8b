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
"""The image subscription of one camera: where it listens and how it follows the publishers."""

from dataclasses import replace
import time
from typing import Any, Callable, Dict, List, Sequence

from mtl_perception.ros.sequence_gaps import SequenceGaps
from mtl_perception.ros.silence import (
    COMPRESSED, explain_loss, explain_mismatch, explain_silence, LARGE_DATA, Listener, Offer,
    TYPE_NAMES)
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage, Image

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

__all__ = ['choose_reliability', 'image_topic', 'ImageInput', 'LARGE_DATA',
           'RELIABILITY_POLICIES']

MESSAGE_CLASSES = {'raw': Image, 'compressed': CompressedImage}
FOLLOW_PERIOD_S = 0.5
# The newest frame and the one that is being put together from its fragments. With one place the
# first fragment of a frame throws out the unfinished one before it: of a 640x480 camera's 30 Hz
# over Fast DDS's default transports 14 arrive, of 120 Hz one; with two, all.
DEPTH = 2
# What was sent before a reliable subscription came counts as lost for the middleware.
JOINING_S = 1.0

RELIABILITY_POLICIES = {'reliable': ReliabilityPolicy.RELIABLE,
                        'best_effort': ReliabilityPolicy.BEST_EFFORT}


def image_topic(node, transport: str, name: str = 'image') -> str:
    """
    Return the full name of the topic that carries an image, remappings applied.

    As image_transport does, ``compressed`` listens beside the remapped ``image``, unless
    ``image/compressed`` itself is remapped.

    :param transport: ``raw`` or ``compressed``
    :param name: of the image
    """
    base = node.resolve_topic_name(name)
    if transport == 'raw':
        return base
    own = node.resolve_topic_name(f'{name}{COMPRESSED}')
    is_remapped = own != node.resolve_topic_name(f'{name}{COMPRESSED}', only_expand=True)
    return own if is_remapped else f'{base}{COMPRESSED}'


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


class ImageInput:
    """
    A subscription to an image whose reliability follows the publishers.

    :param node: that subscribes
    :param name: of the image, before remappings
    :param transport: ``raw`` or ``compressed``
    :param reliability: ``auto``, ``reliable`` or ``best_effort``
    :param callback: called with each message in the executor's thread
    """

    def __init__(self, node, name: str, transport: str, reliability: str,
                 callback: Callable[[Any], None]):
        """Subscribe."""
        self._node = node
        self._name = name
        self._transport = transport
        self._wish = reliability
        self._callback = callback
        self._last_arrival = time.monotonic()
        self._joined = self._last_arrival
        self.lost = 0
        self.lost_s = 0.0
        self._gaps = SequenceGaps()
        self.mismatch = ''
        self.topic = image_topic(node, transport, name)
        # What most cameras offer: those that do not are followed at their first event, and the
        # others' first frames are not lost to a change of subscription.
        self.reliability = choose_reliability(reliability, 'reliable', self._matching())
        self._changed = node.create_guard_condition(self._follow)
        self._subscription = self._subscribe()
        self._timer = node.create_timer(FOLLOW_PERIOD_S, self._follow,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def skipped(self) -> int:
        """Return the frames of a sole publisher that newer ones replaced in the middleware."""
        return max(0, self._gaps.total - self.lost)

    @property
    def silence_s(self) -> float:
        """Return how long ago the last image came, or the subscription began."""
        return time.monotonic() - self._last_arrival

    def explain_loss(self) -> str:
        """Return how many frames were lost on their way and what to do."""
        return explain_loss(self.lost, get_rmw_implementation_identifier())

    def explain_silence(self) -> str:
        """Return what is seen of the publishers and what to do."""
        return explain_silence(self._listener(), self._offers(), self._other_topics(), self.lost)

    def destroy(self) -> None:
        """Stop listening."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_guard_condition(self._changed)
        self._node.destroy_subscription(self._subscription)

    def _listener(self) -> Listener:
        return Listener(self._name, self.topic, self._transport, self.reliability,
                        get_rmw_implementation_identifier())

    def _subscribe(self):
        self._joined = time.monotonic()
        qos = QoSProfile(depth=DEPTH, reliability=RELIABILITY_POLICIES[self.reliability])
        self._gaps.forget()
        # Humble's rclpy hands over the message only.
        receive = self._receive_numbered if hasattr(Subscription, 'CallbackType') \
            else self._receive
        arguments = (MESSAGE_CLASSES[self._transport], self.topic, receive, qos)
        callbacks = SubscriptionEventCallbacks(
            incompatible_qos=lambda _: self._changed.trigger(), message_lost=self._count_lost)
        if hasattr(callbacks, 'incompatible_type'):  # not in Humble
            callbacks.incompatible_type = lambda _: self._changed.trigger()
        try:
            return self._node.create_subscription(*arguments, event_callbacks=callbacks)
        except UnsupportedEventTypeError:  # the graph still shows what does not match
            return self._node.create_subscription(*arguments)

    def _receive(self, message) -> None:
        self._last_arrival = time.monotonic()
        self._callback(message)

    def _receive_numbered(self, message, info) -> None:
        self._gaps.see(info.get('publication_sequence_number'))
        self._receive(message)

    def _count_lost(self, event) -> None:
        if time.monotonic() - self._joined > JOINING_S:
            self.lost += event.total_count_change
            self.lost_s = time.monotonic()

    def _offers(self) -> List[Offer]:
        return [_offer(info) for info in self._node.get_publishers_info_by_topic(self.topic)]

    def _matching(self) -> List[Offer]:
        return [offer for offer in self._offers()
                if offer.type_name == TYPE_NAMES[self._transport]]

    def _other_topics(self) -> Dict[str, Sequence[str]]:
        own = {name for name, _ in self._node.get_publisher_names_and_types_by_node(
            self._node.get_name(), self._node.get_namespace())}
        return {name: types for name, types in self._node.get_topic_names_and_types()
                if name not in {self.topic, *own} and self._node.count_publishers(name)}

    def _inspect(self) -> None:
        """Say which publishers cannot be heard, once for each change."""
        offers = self._offers()
        reliability = choose_reliability(self._wish, self.reliability, self._matching())
        mismatch = explain_mismatch(replace(self._listener(), reliability=reliability), offers)
        if mismatch and mismatch != self.mismatch:
            self._node.get_logger().warning(mismatch)
        self.mismatch = mismatch

    def _follow(self) -> None:
        reliability = choose_reliability(self._wish, self.reliability, self._matching())
        if reliability != self.reliability:
            self._node.get_logger().info(
                f'{self.topic}: subscribing {reliability}, as its publishers allow')
            self.reliability = reliability
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe()
        self._inspect()
        self._gaps.watch(len(self._matching()) == 1)


def _offer(info) -> Offer:
    qos = info.qos_profile
    reliability = 'best_effort' if qos.reliability == ReliabilityPolicy.BEST_EFFORT else 'reliable'
    # The graph may not know yet whose it is.
    node = '' if 'UNKNOWN' in info.node_name else \
        f'{info.node_namespace.rstrip("/")}/{info.node_name}'
    return Offer(info.topic_type, reliability, qos.durability.name.lower(), qos.depth, node)
