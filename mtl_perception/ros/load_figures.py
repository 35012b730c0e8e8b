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
"""From runs of frames to figures: what is kept, pooled and set against the time in process."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Sequence

from mtl_perception.ros.diagnostics import PERCENTILES
from mtl_perception.ros.worker import FrameCounts
import numpy as np

KEPT_SHARE = 0.95
PROTOCOL = (
    'of three runs and more best and worst by p50 are discarded, the frames of the others pooled; '
    'latency from the stamp, taken right before the camera publishes, to the last of detections, '
    'segmentation and classification_scores in the callbacks of a subscriber; dropped = not '
    'answered of what was asked of the camera; overhead = (p50 over DDS - p50 in process) / p50 '
    'in process, the latter at the same rate in a process of its own before and after each run; '
    'peak rate: '
    'binary search for the highest rate with under 5 % dropped')


@dataclass(frozen=True)
class Run:
    """
    What became of the frames of one run.

    :param asked: frames that the rate and the time ask for
    :param sent: frames that the camera published
    :param seconds: the time
    :param latencies_ms: of the answered frames
    :param counts: how the node's own counts went up
    :param cpu_percent: of the node's process, 100 is one core
    :param resident_mb: of the node's process, at the end
    :param stages_ms: the node's own p50 of each stage in the last seconds, from its diagnostics
    :param in_process_ms: of the same frames at the same rate in one process, before and after
    """

    asked: int
    sent: int
    seconds: float
    latencies_ms: np.ndarray
    counts: FrameCounts = FrameCounts()
    cpu_percent: float = 0.0
    resident_mb: float = 0.0
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    in_process_ms: Sequence[float] = ()

    @property
    def answered(self) -> int:
        """Return the number of answered frames."""
        return len(self.latencies_ms)

    @property
    def dropped_share(self) -> float:
        """Return the share of the frames that were asked for and not answered, 0 to 1."""
        return 1.0 - self.answered / self.asked

    @property
    def p50_ms(self) -> float:
        """Return the median latency; infinite where no frame was answered."""
        return float(np.median(self.latencies_ms)) if self.answered else float('inf')

    def lost(self) -> Dict[str, int]:
        """Return where the frames went that were asked for and not answered, by cause."""
        return {'not_sent': self.asked - self.sent,
                'not_received': self.sent - self.counts.received,
                **{name: getattr(self.counts, name)
                   for name in ('replaced', 'stale', 'invalid', 'pending')},
                'not_heard': self.counts.processed - self.answered}


def _percentiles(values: np.ndarray) -> Dict[str, Any]:
    found = np.percentile(values, PERCENTILES).tolist() if len(values) else [None] * 3
    return {f'p{percent}': value for percent, value in zip(PERCENTILES, found)}


def kept_runs(runs: Sequence[Run]) -> List[Run]:
    """Return the runs without the best and the worst by p50; all where there are under three."""
    ordered = sorted(runs, key=lambda run: run.p50_ms)
    return ordered[1:-1] if len(ordered) > 2 else ordered


def summarise(runs: Sequence[Run]) -> Dict[str, Any]:
    """Return the figures of runs under the same conditions, for people and JSON."""
    kept = kept_runs(runs)
    latency = _percentiles(np.concatenate([run.latencies_ms for run in kept]))
    in_process = [value for run in kept for value in run.in_process_ms]
    base_ms = float(np.median(in_process)) if in_process else None
    asked, answered = sum(run.asked for run in kept), sum(run.answered for run in kept)
    return {
        'runs': len(runs), 'kept': len(kept), 'latency_ms': latency,
        'held_hz': answered / sum(run.seconds for run in kept),
        'asked': asked, 'sent': sum(run.sent for run in kept), 'answered': answered,
        'dropped_share': 1.0 - answered / asked,
        'lost': {cause: sum(run.lost()[cause] for run in kept) for cause in kept[0].lost()},
        'node_cpu_percent': float(np.mean([run.cpu_percent for run in kept])),
        'node_resident_mb': max(run.resident_mb for run in kept),
        'node_stages_p50_ms': dict(runs[-1].stages_ms),
        'in_process_p50_ms': base_ms,
        'node_overhead': (latency['p50'] - base_ms) / base_ms
        if base_ms and latency['p50'] else None,
        'each_run': [{**_percentiles(run.latencies_ms), 'answered': run.answered,
                      'dropped_share': run.dropped_share} for run in runs]}


def search_peak(is_held, high_hz: float, trials: int) -> float:
    """
    Return the highest rate that is held, found by halving; 0 where none of those tried is.

    :param is_held: tells for a rate whether it is
    :param high_hz: a rate that is too high
    :param trials: rates to try
    """
    low_hz = 0.0
    for _ in range(trials):
        middle_hz = (low_hz + high_hz) / 2
        if is_held(middle_hz):
            low_hz = middle_hz
        else:
            high_hz = middle_hz
    return low_hz
