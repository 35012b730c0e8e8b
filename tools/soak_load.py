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
"""Checks of a node that has too much to do, or listeners that are too slow."""

from itertools import cycle
from multiprocessing.connection import Connection
import os
import signal
import time
from typing import Dict, List

from mtl_perception.helper_process import HelperProcess
from mtl_perception.ros.load_camera import serve_camera, TOPIC
from rcl_interfaces.srv import GetParameters, SetParameters
import rclpy
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from soak_bench import Bench, PATIENT, STAMPED, still, Subject
from soak_figures import describe, FLAT, Holdings, is_balanced, Row, spread

WIDTH, HEIGHT = 640, 480
FLOOD_HZ = 120.0
FLOOD_MAX_AGE_MS = 150.0
# From the last look at a frame's age to its way out, on a machine with other work.
PUBLISH_MS = 50.0
SERVICE_S = 0.2
ASK_EVERY_S = 0.1
WARM_UP_S = 2.0
# What the node's stages take leaves this share of the time for all the rest.
ENGINE_SHARE = 0.5
WORK = ('decode', 'preprocess', 'inference', 'postprocess', 'publish')
SLEEP_S = 0.5
LATER_MS = 50.0
# The shared memory of Fast DDS's default transports is full for a moment when a reader stops.
MOST_LOST = 3
LOST_S = 2.0
START_S = 30.0


def flood(bench: Bench, seconds: int) -> Row:
    """Send more frames than the machine can answer, and ask for parameters meanwhile."""
    camera = HelperProcess('camera', serve_camera, '/flood', WIDTH, HEIGHT)
    try:
        with bench.node('flooded', f'max_age_ms:={FLOOD_MAX_AGE_MS}',
                        image=f'/flood/{TOPIC}') as node:
            camera.tell((FLOOD_HZ, seconds + START_S))
            bench.client.wait_until(lambda: node.heard['detections'], START_S,
                                    what='a first answer')
            bench.client.spin(WARM_UP_S)
            holdings = Holdings(node.process.pid)
            node.ages_ms.clear()
            start, before = time.monotonic(), len(node.heard['detections'])
            times = _ask_parameters(bench, node, holdings, seconds)
            rate_hz = (len(node.heard['detections']) - before) / (time.monotonic() - start)
            values = bench.client.diagnostics(node.name)[2]
            camera.tell('enough')
            sent = len(camera.reply(START_S))
            counts, ages_ms = node.counts(), node.ages_ms
            engine_hz = 1e3 / sum(float(values[f'{stage}_p50_ms']) for stage in WORK)
            services = {name: spread(found) for name, found in times.items()}
            told = ', '.join(f'{name} p50 {found["p50"]:.0f} ms, max {found["max"]:.0f} ms'
                             for name, found in services.items())
            return Row(
                f'a camera of {FLOOD_HZ:.0f} Hz, {WIDTH}x{HEIGHT}, for {seconds} s; max_age_ms '
                f'{FLOOD_MAX_AGE_MS:.0f}',
                'answers at the rate of the engine, none older than max_age_ms when published; '
                f'parameters are got and set within {1e3 * SERVICE_S:.0f} ms; {FLAT}; the account '
                'is exact',
                f'{rate_hz:.0f} Hz answered, the engine alone makes {engine_hz:.0f}; the oldest '
                f'{max(ages_ms):.0f} ms; {told}; {holdings}; {sent:,} sent, {describe(counts)}',
                rate_hz > ENGINE_SHARE * min(FLOOD_HZ, engine_hz)
                and max(ages_ms) < FLOOD_MAX_AGE_MS + PUBLISH_MS
                and all(found['max'] < 1e3 * SERVICE_S for found in services.values())
                and is_balanced(counts) and holdings.is_flat and node.is_sound(),
                {'seconds': seconds, 'sent': sent,
                 'lost_in_transport': int(values['lost_in_transport']),
                 'skipped_in_transport': int(values['skipped_in_transport']),
                 'rate_hz': rate_hz, 'engine_hz': engine_hz,
                 'age_ms': spread(ages_ms), 'service_ms': services, 'counts': vars(counts),
                 'growth_mb': holdings.growth_mb, 'resident_mb': holdings.series})
    finally:
        camera.end()


def _ask_parameters(bench: Bench, node: Subject, holdings: Holdings,
                    seconds: float) -> Dict[str, List[float]]:
    """Get and set a parameter again and again; return how long each took, in ms."""
    times: Dict[str, List[float]] = {'get': [], 'set': []}
    thresholds = cycle((0.3, 0.4))
    name = 'score_threshold'
    with bench.client.service(GetParameters, f'/{node.name}/get_parameters') as get, \
            bench.client.service(SetParameters, f'/{node.name}/set_parameters') as put:
        end = time.monotonic() + seconds
        whole = 0
        while time.monotonic() < end:
            start = time.monotonic()
            get(GetParameters.Request(names=[name]))
            got = time.monotonic()
            change = Parameter(name, value=next(thresholds)).to_parameter_msg()
            result = put(SetParameters.Request(parameters=[change])).results[0]
            assert result.successful, result.reason
            times['get'].append(1e3 * (got - start))
            times['set'].append(1e3 * (time.monotonic() - got))
            bench.client.spin(ASK_EVERY_S)
            holdings.sample()
            if seconds - (end - time.monotonic()) > whole + 1 and whole < seconds:
                whole += 1
                bench.tick(1)
    return times


def serve_slow_listener(orders: Connection, name: str) -> None:
    """Listen to a node's answers, sleep over each; tell the process id when asked."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    listener = rclpy.create_node('slow_listener')
    for output, message_type in STAMPED.items():
        listener.create_subscription(message_type, f'/{name}/{output}',
                                     lambda _: time.sleep(SLEEP_S), QoSProfile(depth=10))
    try:
        orders.recv()
        orders.send(os.getpid())
        while not orders.poll():
            rclpy.spin_once(listener, timeout_sec=0.1)
    finally:
        listener.destroy_node()
        rclpy.shutdown()


def slow_listener(bench: Bench, frames: int) -> Row:
    """Let another listener sleep, then stop altogether; the first one must not notice."""
    message = still(HEIGHT, WIDTH)
    with bench.connected('heard', PATIENT) as node:
        def measure() -> List[float]:
            times = []
            for _ in range(frames):
                start = time.monotonic()
                if node.ask(message, LOST_S):
                    times.append(1e3 * (time.monotonic() - start))
                bench.tick(1)
            return times
        found = {'alone': measure()}
        slow = HelperProcess('slow listener', serve_slow_listener, node.name)
        try:
            process_id = slow.ask('who are you', START_S)
            bench.client.spin(1.0)
            found['one that sleeps'] = measure()
            os.kill(process_id, signal.SIGSTOP)
            found['one that is stopped'] = measure()
            os.kill(process_id, signal.SIGCONT)
        finally:
            slow.end()
        counts = node.counts()
        latency = {name: spread(times) for name, times in found.items()}
        lost = 3 * frames - node.answered()
        limit_ms = latency['alone']['p95'] + LATER_MS
        told = '; '.join(f'{name}: p50 {value["p50"]:.0f} ms, p95 {value["p95"]:.0f} ms'
                         for name, value in latency.items())
        return Row(
            f'a second listener that sleeps {SLEEP_S} s over each message, then is stopped '
            f'(SIGSTOP); {frames} frames of {WIDTH}x{HEIGHT} each, one after the other',
            f'the first listener has its answers, p95 at most {LATER_MS:.0f} ms later than alone; '
            f'at most {MOST_LOST} are lost in the transport when the other one is stopped',
            f'{told}; {lost} lost; {describe(counts)}',
            all(value['p95'] < limit_ms for value in latency.values())
            and all(len(found[name]) == frames for name in ('alone', 'one that sleeps'))
            and lost <= MOST_LOST and counts.processed == counts.received == 3 * frames
            and node.is_sound(),
            {'frames': frames, 'lost': lost, 'latency_ms': latency})
