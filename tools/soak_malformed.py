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
"""Checks that no picture, however wrong, ends the node: hypothesis makes them up."""

import array
from collections import Counter
from contextlib import contextmanager
from itertools import product
import os
import time
from typing import Any, Callable, Iterator

import cv2
from hypothesis import given, HealthCheck, Phase, seed, settings, strategies as st
from mtl_perception.errors import ImageError
from mtl_perception.image_codec import decode
from mtl_perception.preprocess import input_shape
import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from soak_bench import Bench, PATIENT, still, Subject
from soak_figures import describe, FLAT, Holdings, is_balanced, Row

BURST = 25
ROUNDS = 5
# What the node takes to refuse a picture; the next one would take its place before.
PACE_S = 0.002
# One for each shape that the network's input can take: memory is set aside for each, once.
WARM_UP_SIZES = {input_shape(512, 512, *size): size for size in product(range(1, 33), repeat=2)}
# A shape that few cameras have: after it the node gives back the memory that it no longer needs,
# so that what it holds is always measured at the same point.
GOOD_SIZE = 40, 200
# Pictures of ever new sizes leave holes in the heap; by then there are as many as there will be.
WARM_UP_EXAMPLES = 800
WARM_UP_SHARE = 0.25
STDERR = 2
USUAL = 5
LARGEST = 2**32 - 1
MOST_BYTES = 300_000
# Channels and bytes of a value.
ENCODINGS = {
    'bgr8': 3, 'rgb8': 3, 'bgra8': 4, 'rgba8': 4, 'mono8': 1, 'mono16': 2, 'bgr16': 6, 'rgb16': 6,
    'rgba16': 8, 'bgra16': 8, '8UC1': 1, '8UC3': 3, '8UC4': 4, '16UC1': 2, 'yuv422': 2, 'uyvy': 2,
    'yuyv': 2, 'yuv422_yuy2': 2, 'nv12': 1, 'nv21': 1, 'nv24': 1, 'bayer_rggb8': 1,
    'bayer_gbrg16': 2, '32FC1': 4, '64FC3': 24, '8UC2': 2}
MISSPELT = ('', 'BGR8', 'bgr8 ', ' rgb8', 'bgr', 'rgb8; jpeg compressed bgr8', 'mono', '8uc3',
            'jpeg', 'bayer_rggb', '\u00e9\u4e2d\U0001f600', 'x' * 10000, '../../etc', '%s%n')
FORMATS = ('.jpg', '.png', '.bmp', '.webp', '.tiff', '.ppm')

# A NUL ends a string on its way, and half a character cannot be sent.
text = st.text(st.characters(blacklist_categories=['Cs'], blacklist_characters='\0'),
               max_size=60)
overlong = st.builds(str.__mul__, text, st.integers(0, 300))
sizes = st.one_of(st.integers(0, 130), st.sampled_from(
    [1, 2, 3, 65535, 65536, 2**31 - 1, 2**31, LARGEST]))
known = st.sampled_from(sorted(ENCODINGS))
small = st.tuples(st.integers(1, 130), st.integers(1, 130))
lengthy = st.tuples(st.integers(1, 3), st.integers(1, 20000))


def noise(length: int, number: int) -> bytes:
    """Return random bytes, the same for the same number."""
    return np.random.default_rng(number).integers(0, 256, length, np.uint8).tobytes()


def mostly(usual: st.SearchStrategy, *others: st.SearchStrategy) -> st.SearchStrategy:
    """Draw from the first strategy in most cases, so that not everything is wrong at once."""
    return st.sampled_from([*USUAL * [usual], *others]).flatmap(lambda strategy: strategy)


@st.composite
def images(draw: Callable) -> Image:
    """Make up an Image of which something, or everything, may be wrong."""
    encoding = draw(mostly(known, st.sampled_from(MISSPELT), text))
    height, width = draw(mostly(small, st.tuples(sizes, sizes), lengthy,
                                lengthy.map(lambda pair: pair[::-1])))
    row = width * ENCODINGS.get(encoding, 3)
    step = draw(mostly(
        st.just(row), st.integers(-4, 64).map(lambda more: row + more),
        st.sampled_from([0, 1, LARGEST]), st.integers(0, LARGEST)))
    rows = height * {'nv12': 3, 'nv21': 3, 'nv24': 6}.get(encoding, 2) // 2
    length = draw(mostly(
        st.just(rows * step), st.integers(-5, 5).map(lambda more: rows * step + more),
        st.integers(0, 5000), st.just(0)))
    message = Image(height=height, width=width, encoding=encoding,
                    step=min(max(step, 0), LARGEST),
                    is_bigendian=draw(st.sampled_from([0, 1, 2, 255])))
    message.data = array.array('B', noise(min(max(length, 0), MOST_BYTES), draw(sizes)))
    message.header.frame_id = draw(st.one_of(st.just('camera'), text, overlong))
    return message


def _encoded(height: int, width: int, suffix: str) -> bytes:
    number = 1000 * height + width
    picture = np.frombuffer(noise(3 * height * width, number), np.uint8)
    picture = cv2.blur(picture.reshape(height, width, 3), (5, 5))
    return cv2.imencode(suffix, picture)[1].tobytes()


def _damaged(draw: Callable, data: bytes) -> bytes:
    """Return the data cut short, changed here and there, or with parts lost, added or doubled."""
    where = st.integers(0, len(data))
    kind = draw(st.sampled_from(['whole', 'cut', 'changed', 'header', 'lost', 'added', 'doubled']))
    if kind == 'cut':
        return data[:draw(where)]
    if kind in ('changed', 'header'):
        changed = bytearray(data)
        last = len(data) - 1 if kind == 'changed' else min(len(data) - 1, 200)
        for place, value in draw(st.lists(st.tuples(st.integers(0, last), st.integers(0, 255)),
                                          min_size=1, max_size=8)):
            changed[place] = value
        return bytes(changed)
    if kind == 'lost':
        start, end = sorted((draw(where), draw(where)))
        return data[:start] + data[end:]
    if kind == 'added':
        place = draw(where)
        return data[:place] + draw(st.binary(max_size=50)) + data[place:]
    return data + data if kind == 'doubled' else data


@st.composite
def compressed_images(draw: Callable) -> CompressedImage:
    """Make up a CompressedImage of which something, or everything, may be wrong."""
    suffix = draw(st.sampled_from(FORMATS))
    data = draw(st.one_of(
        st.just(None), st.binary(max_size=300),
        st.sampled_from([b'', b'\xff\xd8', b'\xff\xd8\xff\xd9', b'\x89PNG\r\n\x1a\n', b'GIF89a'])))
    if data is None:
        data = _damaged(draw, _encoded(*draw(small), suffix))
    message = CompressedImage(format=draw(st.one_of(
        st.sampled_from(['jpeg', 'png', 'bgr8; jpeg compressed bgr8',
                         '16UC1; compressedDepth png']), text, overlong)))
    message.data = array.array('B', data)
    message.header.frame_id = draw(text)
    return message


@st.composite
def no_messages(draw: Callable) -> bytes:
    """Make up the bytes of a message that something happened to on the wire."""
    # A DDS writer itself stalls on a payload without its header of 4 bytes.
    data = bytes(serialize_message(still()))
    return data[:4] + _damaged(draw, data[4:])


def each_example(strategy: st.SearchStrategy, count: int, number: int,
                 use: Callable[[Any], None]) -> None:
    """Call a function with many examples, the same ones for the same number."""
    @seed(number)
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(strategy)
    def run(example):
        use(example)
    run()


class Burst:
    """
    Sends what may be no picture, and every now and then a good one that must be answered.

    :param node: that is sent to
    :param good: the good one
    :param send: called with an example
    :param after: called after each good one
    """

    def __init__(self, node: Subject, good: Any, send: Callable[[Any], None],
                 after: Callable[[], Any]):
        """Prepare."""
        self._node = node
        self._good = good
        self._send = send
        self._after = after
        self.examples = self.good_ones = self.silent = 0

    def add(self, example: Any) -> None:
        """Send one more."""
        self._send(example)
        self.examples += 1
        if self.examples % BURST == 0:
            self.good_ones += 1
            self.silent += not self._node.ask(self._good)
            self._after()


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Keep what the libraries of OpenCV print about damaged files off the screen."""
    kept = os.dup(STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STDERR)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(nowhere)


def _seems_good(message: Any) -> bool:
    try:
        with _quiet_decoders():
            return bool(decode(message).size)
    except ImageError:
        return False


def _warm_up(strategy: st.SearchStrategy, count: int, send: Callable[[Any], None]) -> int:
    """Send other examples than those that count; return how many."""
    examples = max(WARM_UP_EXAMPLES, round(WARM_UP_SHARE * count))
    each_example(strategy, examples, ROUNDS, send)
    return examples


def _decided(bench: Bench, node: Subject, sized: Callable[[int, int], Any],
             strategy: st.SearchStrategy, count: int) -> Row:
    """Send until the node has looked at as many as wanted; a newer one may replace some."""
    good = sized(*GOOD_SIZE)
    told: Counter = Counter()

    def send(message) -> None:
        is_good = _seems_good(message)
        stamp_ns = node.publish(message)
        if is_good:
            told['good'] += 1
            told['silent'] += not node.wait_for(stamp_ns)
        else:
            time.sleep(PACE_S)

    for height, width in WARM_UP_SIZES.values():
        send(sized(height, width))
    warm_up = _warm_up(strategy, count, send)
    node.count_from_here()
    told.clear()
    holdings = Holdings(node.process.pid)
    burst = Burst(node, good, send, lambda: (holdings.sample(), bench.tick(BURST)))
    decided, number = 0, 0
    while decided < count and number < ROUNDS and node.process.is_alive:
        each_example(strategy, count - decided, number, burst.add)
        counts = node.counts()
        decided, number = counts.invalid + counts.processed - burst.good_ones, number + 1
    answered = node.answered()
    return Row(
        f'{count:,} {type(good).__name__} messages made up by hypothesis, a good one after each '
        f'{BURST}, after {warm_up:,} to warm up',
        f'each is counted invalid or answered; each good one is answered; {FLAT}; the account is '
        'exact',
        f'{counts.invalid:,} invalid, {answered - burst.good_ones:,} answered '
        f'({counts.replaced:,} more replaced); {burst.good_ones - burst.silent:,} of '
        f'{burst.good_ones:,} good ones answered; {holdings}; {describe(counts)}',
        decided >= count and not burst.silent and not told['silent']
        and answered == counts.processed == told['good'] + burst.good_ones
        and is_balanced(counts) and holdings.is_flat and node.is_sound(),
        {'count': count, 'counts': vars(counts), 'good_ones': burst.good_ones,
         'silent': burst.silent + told['silent'], 'growth_mb': holdings.growth_mb,
         'resident_mb': holdings.series})


def malformed_images(bench: Bench, count: int) -> Row:
    """Send pictures whose fields contradict each other or say nothing."""
    with bench.connected('robust', PATIENT) as node:
        return _decided(bench, node, still, images(), count)


def malformed_compressed(bench: Bench, count: int) -> Row:
    """Send JPEG, PNG and other files, cut short, damaged or invented."""
    def sized(height: int, width: int) -> CompressedImage:
        message = CompressedImage(format='jpeg')
        message.data = array.array('B', _encoded(height, width, '.jpg'))
        return message
    with bench.node('sturdy', PATIENT, 'image_transport:=compressed') as node:
        node.connect(CompressedImage, f'{node.topic}/compressed')
        assert node.ask(sized(48, 64)), 'sturdy does not answer'
        return _decided(bench, node, sized, compressed_images(), count)


def malformed_bytes(bench: Bench, count: int) -> Row:
    """Send what is no message."""
    with bench.connected('wired', PATIENT) as node:
        good = still(*GOOD_SIZE)

        def send(data: bytes) -> None:
            node.publish_bytes(data)
            time.sleep(PACE_S)

        for height, width in WARM_UP_SIZES.values():
            node.ask(still(height, width))
        warm_up = _warm_up(no_messages(), count, send)
        assert node.ask(good), 'wired does not answer'
        node.count_from_here()
        holdings = Holdings(node.process.pid)
        burst = Burst(node, good, send, lambda: (holdings.sample(), bench.tick(BURST)))
        each_example(no_messages(), count, 0, burst.add)
        counts = node.counts()
        return Row(
            f'the bytes of {burst.examples:,} messages damaged on the wire, a good one after each '
            f'{BURST}, after {warm_up:,} to warm up',
            f'each good one is answered; {FLAT}; the account is exact',
            f'{burst.good_ones - burst.silent} of {burst.good_ones} good ones answered; '
            f'{holdings}; {describe(counts)}',
            not burst.silent and burst.good_ones > 0 and is_balanced(counts) and holdings.is_flat
            and node.is_sound(),
            {'count': burst.examples, 'good_ones': burst.good_ones, 'silent': burst.silent,
             'growth_mb': holdings.growth_mb, 'resident_mb': holdings.series})
