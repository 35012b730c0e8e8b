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
"""A check that parameters may be set to anything at any time: only what is valid is taken."""

from itertools import cycle
import math
from random import Random
from typing import Any, Dict, List, Mapping, Tuple

from mtl_perception.ros.load_camera import load_frames
from mtl_perception.ros.parameters import FIXED, Parameter, PARAMETERS
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter as RosParameter
from sensor_msgs.msg import Image
from soak_bench import Bench, image_message, PATIENT, still, Subject
from soak_figures import describe, is_balanced, Row

TABLE = {item.name: item for _, item in PARAMETERS}
UNKNOWN = ('nope', 'Score_Threshold', 'score_threshold.x', 'perception.engine', '\u00e9')
# Valid, but frames would then be dropped as too old: here each must be answered.
ROOMY = {'latency_budget_ms': (20000.0, 60000.0), 'max_age_ms': (20000.0, 86400000.0)}
STRANGE = (
    None, True, False, 0, 1, 2, 50, 100, 1000, 1001, -1, 2**63 - 1, -2**63, 0.0, -0.0, 0.5, 1.0,
    -1e-9, 1.0000001, 1e308, 1e-320, math.nan, math.inf, -math.inf, '', 'auto', 'name', 'index',
    'raw', 'true', '0.5', 'a\nb', '\u00e9\u4e2d', 'x' * 5000, ['image'], ['a', 'a'], [1, 2],
    [0.5], [True], [b'x'])
OUTPUTS = {'detection': 'detections', 'segmentation': 'segmentation',
           'classification': 'classification_scores'}
MOST_AT_ONCE = 4
VALID_SHARE = 0.5
# Where no output is on, nothing tells when a frame is done.
UNSEEN_S = 0.1
SHOWN = 3

Values = Dict[str, Any]


def is_valid(name: str, value: Any, values: Mapping[str, Any]) -> bool:
    """
    Tell whether an active node has to take a value, by the table that users read.

    :param values: that the node has
    """
    if name not in TABLE:
        return False
    item = TABLE[name]
    if item.constraint == FIXED:
        return type(value) is type(values[name]) and value == values[name]
    kinds = (int, float) if isinstance(item.default, float) else (type(item.default),)
    if type(value) not in kinds:
        return False
    if item.limits:
        return item.limits[0] <= value <= item.limits[1]
    return not item.choices or value in item.choices


def _good_value(item: Parameter, random: Random, values: Values) -> Any:
    if item.constraint == FIXED:
        return values[item.name]
    if isinstance(item.default, bool):
        return random.random() < 0.5
    if item.choices:
        return random.choice(item.choices)
    low, high = ROOMY.get(item.name, item.limits)
    if isinstance(item.default, int):
        return random.randint(int(low), int(high))
    return random.uniform(low, high)


def _changes(random: Random, values: Values) -> List[Tuple[str, Any]]:
    """Return some changes of different parameters, about half of them valid."""
    names = random.sample([*TABLE, random.choice(UNKNOWN)], random.randint(1, MOST_AT_ONCE))
    changes = []
    for name in names:
        value = random.choice(STRANGE)
        if name in TABLE and (random.random() < VALID_SHARE or (
                name in ROOMY and is_valid(name, value, values))):
            value = _good_value(TABLE[name], random, values)
        changes.append((name, value))
    return changes


class Fuzz:
    """
    Sets parameters and holds what the node does against what it should do.

    :param node: that is active
    :param values: that it has
    """

    def __init__(self, node: Subject, values: Values):
        """Prepare."""
        self._node = node
        self.values = values
        self.accepted = self.refused = 0
        self.faults: List[str] = []
        # By stamp, the outputs that may be the ones to answer a frame.
        self._expected: Dict[int, List[frozenset]] = {}

    def outputs(self) -> frozenset:
        """Return the outputs that are on."""
        return frozenset(output for name, output in OUTPUTS.items() if self.values[name])

    def foresee(self, changes: List[Tuple[str, Any]], is_atomic: bool) -> List[bool]:
        """Return whether each change is to be taken, and note what it changes."""
        if is_atomic:
            verdicts = [all(is_valid(*change, self.values) for change in changes)]
            if verdicts[0]:
                self.values.update(changes)
            return verdicts
        verdicts = []
        for name, value in changes:
            verdicts.append(is_valid(name, value, self.values))
            if verdicts[-1]:
                self.values[name] = value
        return verdicts

    def judge(self, changes, verdicts: List[bool], results, held: Values) -> None:
        """Note where results or values are not those foreseen."""
        for verdict, result in zip(verdicts, results):
            self.accepted += result.successful
            self.refused += not result.successful
            if result.successful != verdict:
                self.fault(f'{changes}: {"taken" if result.successful else result.reason}')
            if not verdict and (not result.reason or '\n' in result.reason.strip()):
                self.fault(f'{changes}: refused with {result.reason!r}')
        if held != self.values:
            others = {name: held[name] for name in held if held[name] != self.values[name]}
            self.fault(f'{changes}: the node has {others}')

    def fault(self, text: str) -> None:
        """Note what is wrong."""
        self.faults.append(text[:300])

    def send(self, message: Image, *outputs: frozenset) -> int:
        """Publish a frame that must be answered by one of the sets of outputs."""
        stamp_ns = self._node.publish(message)
        self._expected[stamp_ns] = list(outputs)
        return stamp_ns

    def may_be(self, stamp_ns: int, outputs: frozenset) -> None:
        """Note that a frame may also be answered by other outputs."""
        self._expected[stamp_ns].append(outputs)

    def wait(self, stamp_ns: int) -> None:
        """Wait until a frame is answered."""
        sets = self._expected[stamp_ns]
        if frozenset() in sets:
            self._node.client.spin(UNSEEN_S)
        elif not any(self._node.is_answered(stamp_ns, outputs) for outputs in sets):
            self._node.client.wait_until(lambda: any(
                self._node.is_answered(stamp_ns, outputs) for outputs in sets), 10.0,
                required=False)

    def look(self) -> None:
        """Note where the latest answer is not as the parameters want it."""
        if not self.values['detection']:
            return
        found = self._node.latest['detections'].detections
        if len(found) > self.values['max_detections']:
            self.fault(f'{len(found)} boxes, max_detections {self.values["max_detections"]}')
        is_index = self.values['class_id_format'] == 'index'
        for box in found:
            best = box.results[0].hypothesis
            if best.score < self.values['score_threshold'] - 1e-6 \
                    or best.class_id.isdecimal() != is_index:
                self.fault(f'box {best.class_id} {best.score:.3f} with {self.values}')

    def unanswered(self) -> int:
        """Return how many frames were not answered exactly as they had to be."""
        heard = self._node.heard
        wrong = 0
        for stamp, sets in self._expected.items():
            found = {output for output in heard if heard[output][stamp]}
            is_once = all(heard[output][stamp] <= 1 for output in heard)
            wrong += not (is_once and found in sets)
        return wrong


def _message(name: str, value: Any) -> ParameterMessage:
    return RosParameter(name, value=value).to_parameter_msg()


def parameters(bench: Bench, count: int) -> Row:
    """Set random parameters to random values while frames flow."""
    random = Random(0)
    pictures = cycle(image_message(frame.image, still().header.stamp)
                     for frame in load_frames(160, 120))
    with bench.connected('obedient', PATIENT) as node, \
            bench.client.service(GetParameters, f'/{node.name}/get_parameters') as get, \
            bench.client.service(SetParameters, f'/{node.name}/set_parameters') as put, \
            bench.client.service(SetParametersAtomically,
                                 f'/{node.name}/set_parameters_atomically') as put_all:
        def held() -> Values:
            response = get(GetParameters.Request(names=list(TABLE)))
            return {name: RosParameter.from_parameter_msg(
                ParameterMessage(name=name, value=value)).value
                for name, value in zip(TABLE, response.values)}
        fuzz = Fuzz(node, held())
        node.count_from_here()
        done = 0
        while done < count:
            changes = _changes(random, fuzz.values)
            messages = [_message(*change) for change in changes]
            is_atomic = random.random() < 0.5
            before = fuzz.outputs()
            meanwhile = fuzz.send(next(pictures), before)
            verdicts = fuzz.foresee(changes, is_atomic)
            # The worker may take the frame up between two of several changes.
            fuzz.may_be(meanwhile, fuzz.outputs())
            results = [put_all(SetParametersAtomically.Request(parameters=messages)).result] \
                if is_atomic else put(SetParameters.Request(parameters=messages)).results
            fuzz.judge(changes, verdicts, results, held())
            fuzz.wait(meanwhile)
            fuzz.wait(fuzz.send(next(pictures), fuzz.outputs()))
            fuzz.look()
            done += len(changes)
            bench.tick(len(changes))
        counts, wrong = node.counts(), fuzz.unanswered()
        told = f'; first: {fuzz.faults[:SHOWN]}' if fuzz.faults else ''
        return Row(
            f'{done:,} changes of random parameters to random values, one or up to '
            f'{MOST_AT_ONCE} at once, half of them atomically, while frames flow',
            'what is valid is taken, the rest refused with a line that names it and without a '
            'change; every frame is answered on exactly the outputs that are on, as the '
            'parameters want it',
            f'{fuzz.accepted:,} requests taken, {fuzz.refused:,} refused, {len(fuzz.faults)} '
            f'wrongly; {wrong} of {node.sent:,} frames answered wrongly; {describe(counts)}{told}',
            not fuzz.faults and not wrong and counts.processed == node.sent
            and is_balanced(counts) and node.is_sound(),
            {'changes': done, 'faults': fuzz.faults[:20], 'accepted': fuzz.accepted,
             'refused': fuzz.refused, 'frames': node.sent})
