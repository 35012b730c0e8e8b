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
"""The node's part of /diagnostics: one status for the whole, one for each of several cameras."""

from dataclasses import dataclass
from itertools import chain
from typing import Dict, List, Mapping, Optional, Sequence

from diagnostic_msgs.msg import DiagnosticStatus
from mtl_perception.engine import Engine
from mtl_perception.ros.diagnostics import (
    find_problems, latency_values, percentiles_ms, Problem, status_message, verdict)
from mtl_perception.ros.parameters import Settings
from mtl_perception.ros.stream import CameraStream
from mtl_perception.ros.worker import FrameCounts

ACTIVE = 'active'


@dataclass(frozen=True)
class NodeFacts:
    """
    What is known of the node beside its cameras.

    :param name: full name, without the first slash
    :param state: of the lifecycle
    :param failure: why it could not be brought to another state; empty when it could
    :param settings: in use
    :param engine: in use, None where there is none
    """

    name: str
    state: str
    failure: str
    settings: Settings
    engine: Optional[Engine]


def status_messages(facts: NodeFacts, streams: Sequence[CameraStream],
                    counts: Mapping[str, FrameCounts]) -> List[DiagnosticStatus]:
    """
    Return the statuses of now.

    :param counts: by camera, those that are no more among them
    """
    reports = {stream.name: stream.report(counts.get(stream.name, FrameCounts()), facts.settings)
               for stream in streams}
    problems = {name: find_problems(health) if facts.state == ACTIVE else []
                for name, (health, _) in reports.items()}
    figures = {name: values for name, (_, values) in reports.items()}
    everything: Dict[str, object] = {
        'state': facts.state, 'checkpoint': facts.settings.start.checkpoint,
        'engine': facts.engine.engine_name if facts.engine else '',
        'device': facts.engine.device_name if facts.engine else '',
        'provider': facts.engine.provider if facts.engine else '',
        'latency_budget_ms': facts.settings.stream.latency_budget_ms,
        'max_age_ms': facts.settings.stream.effective_max_age_ms}
    device = str(everything['device'])
    if len(streams) == 1:
        name = streams[0].name
        return [status_message(f'{facts.name}: pipeline', device,
                               _judge(facts, problems[name], figures[name]),
                               {**everything, **figures[name]})]
    together = _together(streams, figures, counts)
    named = [(level, f'{name}: {text}') for name, found in problems.items()
             for level, text in found]
    return [status_message(f'{facts.name}: pipeline', device, _judge(facts, named, together),
                           {**everything, **together}),
            *(status_message(f'{facts.name}: {name}', device,
                             verdict(problems[name], _idle_word(facts, figures[name])),
                             figures[name]) for name in reports)]


def _together(streams: Sequence[CameraStream], figures: Mapping[str, Mapping[str, object]],
              counts: Mapping[str, FrameCounts]) -> Dict[str, object]:
    return {
        'image_topic': ' '.join(str(values['image_topic']) for values in figures.values()),
        'reliability': ' '.join(str(values['reliability']) for values in figures.values()),
        **{key: sum(values[key] for values in figures.values())
           for key in ('received_hz', 'processed_hz', 'lost_in_transport',
                       'skipped_in_transport')},
        **vars(sum(counts.values(), FrameCounts())),
        **latency_values(percentiles_ms(chain.from_iterable(
            stream.latencies.read() for stream in streams)))}


def _judge(facts: NodeFacts, problems: Sequence[Problem],
           figures: Mapping[str, object]) -> Problem:
    """Return level and message of the whole node."""
    if facts.failure and facts.state != ACTIVE:
        return DiagnosticStatus.ERROR, f'{facts.state}: {facts.failure}'
    warnings = facts.engine.warnings if facts.engine and facts.state == ACTIVE else ()
    return verdict([*problems, *((DiagnosticStatus.WARN, text) for text in warnings)],
                   _idle_word(facts, figures))


def _idle_word(facts: NodeFacts, figures: Mapping[str, object]) -> str:
    if facts.state != ACTIVE:
        return facts.state
    return 'running' if 'end_to_end_p50_ms' in figures else 'waiting for images'
