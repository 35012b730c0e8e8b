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
"""Why no image may be coming, and what to type: from what the graph shows to one line."""

from dataclasses import dataclass
import difflib
from typing import List, Mapping, Sequence

TYPE_NAMES = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}
OTHER = {'raw': 'compressed', 'compressed': 'raw'}
COMPRESSED = '/compressed'
LARGE_DATA = 'LARGE_DATA?max_msg_size=4MB&sockets_size=4MB&non_blocking=true'
SHOWN_TOPICS = 3
# What keeps whole images from being lost, by the start of the middleware's name.
TRANSPORT_ADVICE = {
    'rmw_fastrtps': 'Fast DDS loses large frames with its default transports: type '
                    f"export FASTDDS_BUILTIN_TRANSPORTS='{LARGE_DATA}' in the camera's shell and "
                    "in this node's and start both again (the launch file's large_data:=true "
                    'does it for this node)',
    'rmw_cyclonedds': 'Cyclone DDS loses large frames with small socket buffers: type '
                      'sudo sysctl -w net.core.rmem_max=2147483647 and start both again'}


@dataclass(frozen=True)
class Offer:
    """
    What one publisher offers.

    :param type_name: such as ``sensor_msgs/msg/Image``
    :param reliability: ``reliable`` or ``best_effort``
    :param durability: such as ``volatile``
    :param depth: of its history, 0 where the middleware does not tell
    :param node: full name of its node
    """

    type_name: str
    reliability: str
    durability: str = 'volatile'
    depth: int = 0
    node: str = ''

    def __str__(self) -> str:
        """Return all that is known."""
        depth = [f'depth {self.depth}'] if self.depth else []
        words = ' '.join([self.reliability, self.type_name])
        return f'{words}, ' + ', '.join([self.durability, *depth]) + (
            f', of {self.node}' if self.node else '')


@dataclass(frozen=True)
class Listener:
    """
    What the node asked for.

    :param name: of the image, as a remapping names it
    :param topic: full name, remapped
    :param transport: ``raw`` or ``compressed``
    :param reliability: ``reliable`` or ``best_effort``
    :param middleware: name of the RMW implementation
    """

    name: str
    topic: str
    transport: str
    reliability: str
    middleware: str = 'rmw_fastrtps_cpp'

    @property
    def wanted(self) -> str:
        """Return the name of the type that is listened for."""
        return TYPE_NAMES[self.transport]

    @property
    def base(self) -> str:
        """Return the topic of the raw image, beside which the compressed one lies."""
        return self.topic[:-len(COMPRESSED)] if self.topic.endswith(COMPRESSED) else self.topic

    def hears(self, offer: Offer) -> bool:
        """Tell whether the offer's type and reliability match."""
        return offer.type_name == self.wanted and (
            self.reliability == 'best_effort' or offer.reliability == 'reliable')


def _publishers(listener: Listener, offers: Sequence[Offer]) -> str:
    plural = 's' if len(offers) > 1 else ''
    return (f'{len(offers)} publisher{plural} on {listener.topic} '
            f'({"; ".join(str(offer) for offer in offers)})')


def _nobody(listener: Listener, topics: Mapping[str, Sequence[str]]) -> str:
    """Return what to do where nobody publishes on the topic."""
    text = f'no publisher on {listener.topic} ({listener.wanted})'
    other = OTHER[listener.transport]
    beside = listener.base + (COMPRESSED if other == 'compressed' else '')
    if TYPE_NAMES[other] in topics.get(beside, ()):
        return (f'{text}, but {beside} is there ({TYPE_NAMES[other]}): type '
                f'-p image_transport:={other}')
    images = [name for name, types in topics.items() if listener.wanted in types]
    close = difflib.get_close_matches(listener.topic, images, SHOWN_TOPICS, cutoff=0.0)
    if not close:
        return f'{text}, nor is there any other topic of that type; start the camera'
    best = close[0]
    if listener.transport == 'compressed' and best.endswith(COMPRESSED):
        best = best[:-len(COMPRESSED)]
    return (f'{text}; topics of that type: {", ".join(close)}; start the camera, or type '
            f'--ros-args -r {listener.name}:={best}')


def explain_mismatch(listener: Listener, offers: Sequence[Offer]) -> str:
    """
    Return which publishers cannot be heard, and what to do; empty where all can.

    :param offers: of all publishers of the topic
    """
    wrong = [offer for offer in offers if offer.type_name != listener.wanted]
    weak = [offer for offer in offers if offer not in wrong and not listener.hears(offer)]
    problems: List[str] = []
    if wrong:
        other = OTHER[listener.transport]
        hint = f'-r {listener.name}:= the topic of the {listener.wanted}'
        if any(offer.type_name == TYPE_NAMES[other] for offer in wrong):
            remap = f'{listener.name}{COMPRESSED if other == "compressed" else ""}'
            hint = f'-p image_transport:={other} -r {remap}:={listener.topic}'
        problems.append(f'{_publishers(listener, wrong)}, but {listener.wanted} is expected: '
                        f'type {hint}')
    if weak:
        problems.append(f'{_publishers(listener, weak)}, but reliable is asked for: type '
                        '-p reliability:=auto')
    return '; '.join(problems)


def _transport_advice(middleware: str) -> str:
    return next((f'. {text}' for name, text in TRANSPORT_ADVICE.items()
                 if middleware.startswith(name)), '')


def explain_loss(lost: int, middleware: str) -> str:
    """
    Return what the middleware knows to be lost, and what to do.

    :param lost: frames
    :param middleware: name of the RMW implementation
    """
    return f'{lost} frames were lost in transport{_transport_advice(middleware)}'


def explain_silence(listener: Listener, offers: Sequence[Offer],
                    topics: Mapping[str, Sequence[str]], lost: int = 0) -> str:
    """
    Return why no image may be coming and what to do.

    :param offers: of all publishers of the topic
    :param topics: types of the other topics that somebody publishes, by name
    :param lost: frames that the middleware knows to be lost on their way
    """
    if not offers:
        return _nobody(listener, topics)
    heard = [offer for offer in offers if listener.hears(offer)]
    if not heard:
        return explain_mismatch(listener, offers)
    seen = f'{_publishers(listener, heard)} matched by a {listener.reliability} subscription, but'
    if lost:
        return f'{seen} {explain_loss(lost, listener.middleware)}'
    unsure = any(offer.reliability == 'best_effort' for offer in heard) \
        or listener.reliability == 'best_effort'
    loss = 'its frames are probably lost in transport' if unsure else \
        'its frames do not come through'
    return (f'{seen} nothing arrives: the camera does not send, or {loss}'
            f'{_transport_advice(listener.middleware)}')
