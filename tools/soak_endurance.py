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
"""Checks that nothing piles up: many frames, many lives."""

from itertools import cycle, islice
from typing import List

from lifecycle_msgs.msg import Transition
import numpy as np
from sensor_msgs.msg import Image
from soak_bench import Bench, image_message, PATIENT, still
from soak_figures import describe, FLAT, Holdings, is_balanced, Row

SAMPLES = 200
WARM_UP_FRAMES = 150
WARM_UP_SHARE = 0.1
# Until the allocator and OpenVINO have what they reuse: about eight lives, 10 MB.
WARM_UP_CYCLES = 10
SIZES = ((48, 64), (36, 64), (97, 131), (120, 160), (64, 48), (3, 3), (240, 320))
# Channels and bytes a value; those of YUV need even sizes.
ENCODINGS = {'bgr8': (3, 1), 'rgb8': (3, 1), 'mono8': (1, 1), 'rgba8': (4, 1), 'mono16': (1, 2),
             'bgr16': (3, 2), 'bayer_rggb8': (1, 1), '16UC1': (1, 2)}
EVEN = {'yuv422': (2, 1), 'yuv422_yuy2': (2, 1)}
CYCLE = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE,
         Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)


def pictures() -> List[Image]:
    """Return a picture of every size in every encoding that it can have."""
    random = np.random.default_rng(0)
    messages = []
    for height, width in SIZES:
        encodings = {**ENCODINGS, **(EVEN if width % 2 == 0 else {})}
        for encoding, (channels, size) in encodings.items():
            data = random.integers(0, 256, (height, width * channels * size), np.uint8)
            messages.append(image_message(data, Image().header.stamp, encoding=encoding))
            messages[-1].width = width
    return messages


def endurance(bench: Bench, frames: int) -> Row:
    """Let the node answer frame after frame, of all sizes and encodings in turn."""
    messages = pictures()
    with bench.connected('endurance', PATIENT) as node:
        warm_up = max(WARM_UP_FRAMES, round(WARM_UP_SHARE * frames))
        for message in islice(cycle(messages), warm_up):
            node.ask(message)
        node.count_from_here()
        holdings = Holdings(node.process.pid)
        silent = []
        for number, message in enumerate(islice(cycle(messages), frames), 1):
            if not node.ask(message):
                silent.append(f'{message.encoding} {message.width}x{message.height}')
            if number % max(1, frames // SAMPLES) == 0:
                holdings.sample()
            bench.tick(1)
        counts, answered = node.counts(), node.answered()
        return Row(
            f'{frames:,} frames of {len(messages)} sizes and encodings, each as soon as the one '
            f'before is answered, after {warm_up:,} to warm up',
            f'each is answered once on every output; {FLAT}; the account is exact',
            f'{answered:,} answered; {holdings}; {describe(counts)}',
            answered == frames == counts.processed == counts.received and is_balanced(counts)
            and holdings.is_flat and node.is_sound(),
            {'frames': frames, 'answered': answered, 'silent': silent, 'counts': vars(counts),
             'growth_mb': holdings.growth_mb, 'resident_mb': holdings.series})


def lifecycle(bench: Bench, cycles: int) -> Row:
    """Bring the node up and down again and again, a frame in each life."""
    with bench.node('reborn', PATIENT, 'autostart:=false') as node:
        camera_is_known = False
        change = bench.client.state_changer(node.name)
        refused = answered = 0
        for number in range(WARM_UP_CYCLES + cycles):
            if number == WARM_UP_CYCLES:
                holdings = Holdings(node.process.pid)
                refused = answered = 0
            for transition in CYCLE:
                refused += not change(transition)
                if transition == Transition.TRANSITION_ACTIVATE:
                    if not camera_is_known:
                        node.connect()
                        camera_is_known = True
                    # What was sent before the new subscription is known is for nobody.
                    answered += any(node.ask(still(), seconds=1.0) for _ in range(10))
            if number >= WARM_UP_CYCLES:
                holdings.sample()
                bench.tick(1)
        counts = node.counts()
        return Row(
            f'{cycles} times configure, activate, a frame, deactivate, clean up',
            f'every transition succeeds, every life answers; {FLAT}; the account is exact',
            f'{refused} refused, {answered} answered; {holdings}; {describe(counts)}',
            refused == 0 and answered == cycles and holdings.is_flat and is_balanced(counts)
            and node.is_sound(),
            {'cycles': cycles, 'growth_mb': holdings.growth_mb, 'resident_mb': holdings.series})
