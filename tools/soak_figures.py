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
"""What a check of soak.py reports, and what it reads off the node's process."""

from dataclasses import dataclass, field
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from mtl_perception.ros.worker import FrameCounts
import numpy as np

GROWTH_MB = 5.0
# Of the samples at either end of a run: what is freed may go back to the system a little later.
END_SHARE = 0.1
END_SAMPLES = 6


@dataclass(frozen=True)
class Row:
    """
    What one check did and saw.

    :param done: what was done to the node
    :param expected: what it promises
    :param seen: what it did
    :param passed: whether that is the same
    :param figures: more numbers, for JSON
    """

    done: str
    expected: str
    seen: str
    passed: bool
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resources:
    """
    What a process holds.

    :param resident_mb: memory, in 10**6 bytes
    :param files: open descriptors
    :param threads: that it has
    """

    resident_mb: float
    files: int
    threads: int


def resources(pid: int) -> Resources:
    """Return what Linux says that a process holds."""
    process = Path(f'/proc/{pid}')
    pages = int((process / 'statm').read_text().split()[1])
    return Resources(pages * os.sysconf('SC_PAGE_SIZE') / 1e6,
                     len(os.listdir(process / 'fd')), len(os.listdir(process / 'task')))


class Holdings:
    """
    What a process holds, again and again.

    :param pid: of the process
    """

    def __init__(self, pid: int):
        """Take the first sample."""
        self._pid = pid
        self._samples = [resources(pid)]

    def sample(self) -> None:
        """Take one more."""
        self._samples.append(resources(self._pid))

    @property
    def growth_mb(self) -> float:
        """Return the difference of the median memory at either end."""
        wanted = max(END_SAMPLES, round(END_SHARE * len(self._samples)))
        count = max(1, min(wanted, len(self._samples) // 2))
        megabytes = self.series
        return float(np.median(megabytes[-count:]) - np.median(megabytes[:count]))

    @property
    def series(self) -> List[float]:
        """Return the resident memory of every sample, in MB."""
        return [sample.resident_mb for sample in self._samples]

    @property
    def is_flat(self) -> bool:
        """Tell whether nothing grows."""
        first, last = self._samples[0], self._samples[-1]
        return self.growth_mb < GROWTH_MB and last.files <= first.files \
            and last.threads <= first.threads

    def __str__(self) -> str:
        """Return what changed."""
        first, last = self._samples[0], self._samples[-1]
        return (f'{self.growth_mb:+.1f} MB of {first.resident_mb:.0f}, '
                f'{last.files - first.files:+d} descriptors, '
                f'{last.threads - first.threads:+d} threads')


FLAT = 'nothing grows'


def is_balanced(counts: FrameCounts) -> bool:
    """Tell whether every frame is accounted for, and none is under way."""
    return counts.pending == 0 and counts.received == (
        counts.processed + counts.replaced + counts.stale + counts.invalid)


def describe(counts: FrameCounts) -> str:
    """Return the account as a sum."""
    parts = [f'{getattr(counts, name):,} {name}'
             for name in ('processed', 'replaced', 'stale', 'invalid') if getattr(counts, name)]
    return f'{counts.received:,} received = {" + ".join(parts) or 0}'


def spread(values: Sequence[float]) -> Dict[str, float]:
    """Return p50, p95 and the greatest of some values."""
    p50, p95 = np.percentile(values, (50, 95)).tolist() if len(values) else (0.0, 0.0)
    return {'p50': p50, 'p95': p95, 'max': max(values, default=0.0)}
