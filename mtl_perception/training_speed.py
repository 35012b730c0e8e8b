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
"""How fast a recipe trains on this machine, and whether its steps wait for data."""

from dataclasses import dataclass, replace
import os
from pathlib import Path
import platform
import resource
from tempfile import TemporaryDirectory
import time
from typing import Any, Callable, Dict, List, Mapping, Sequence

from mtl_perception.data.sample import Sample
from mtl_perception.recipe import Recipe, Resolution, Stage
from mtl_perception.run_folder import RunFolder
from mtl_perception.training import Trainer
import numpy as np
import torch

WARM_UP_STEPS = 8
"""More than the batches that a loader process makes ahead, so that none of those is timed."""

PARTS = ('waiting for data', 'forward', 'loss', 'backward', 'optimiser and average')


@dataclass(frozen=True, eq=False)
class SideSpeed:
    """
    Times at one input side.

    :param side: of the square input, pixels
    :param batch_size: pictures a step
    :param seconds: of each of ``PARTS``, one value a step; the loader works at the same time
    :param loader_seconds: between batches where nothing but the loader works
    :param peak_bytes: most resident memory of the process so far
    :param loader_peak_bytes: the same of its largest loader process; pages that it shares with
        the first one are counted in both
    """

    side: int
    batch_size: int
    seconds: Mapping[str, np.ndarray]
    loader_seconds: np.ndarray
    peak_bytes: int
    loader_peak_bytes: int

    def summary(self) -> Dict[str, Any]:
        """Return medians a step in milliseconds, shares of the time, rates, and memory in MB."""
        steps = sum(self.seconds.values())
        return {
            'side': self.side,
            'images_per_second': self.batch_size / float(np.median(steps)),
            'loader_images_per_second': self.batch_size / float(self.loader_seconds.mean()),
            'step_ms': float(np.median(steps)) * 1e3,
            'parts_ms': {part: float(np.median(values)) * 1e3
                         for part, values in self.seconds.items()},
            'shares': {part: float(values.sum() / steps.sum())
                       for part, values in self.seconds.items()},
            'peak_mb': self.peak_bytes / 1e6,
            'loader_peak_mb': self.loader_peak_bytes / 1e6,
        }


def conditions(device: torch.device) -> Dict[str, Any]:
    """Return what the times are taken under, for people."""
    name = (torch.cuda.get_device_name(device) if device.type == 'cuda'
            else torch.backends.cpu.get_cpu_capability())
    return {'device': f'{device} ({name})', 'machine': platform.machine(),
            'cpus': len(os.sched_getaffinity(0)), 'threads': torch.get_num_threads(),
            'load_before': round(os.getloadavg()[0], 2), 'torch': torch.__version__,
            'python': platform.python_version()}


def _at_side(recipe: Recipe, side: int, steps: int) -> Recipe:
    """Return a recipe of one joint stage, with the windows that ``recipe`` has nearest to it."""
    nearest = min(recipe.resolutions, key=lambda resolution: abs(resolution.side - side))
    return replace(recipe, stages=(Stage('speed', steps),), teachers={}, start_from='',
                   trunk='', resolutions=(Resolution(0.0, side, nearest.zoom),))


def _loader_seconds(trainer: Trainer, workers: int, on_batch: Callable[[], None]) -> np.ndarray:
    arrivals = []
    for _ in trainer.batches(workers):
        arrivals.append(time.perf_counter())
        on_batch()
    return np.diff(arrivals[WARM_UP_STEPS - 1:])


def _step_seconds(trainer: Trainer, workers: int, device: torch.device,
                  on_batch: Callable[[], None]) -> Dict[str, np.ndarray]:
    marks: List[float] = []

    def mark(*_: Any) -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        marks.append(time.perf_counter())
    # The step itself is the trainer's; hooks tell when it passes from one part to the next.
    trainer.network.register_forward_hook(mark)
    trainer.loss.register_forward_hook(mark)
    trainer.optimizer.register_step_pre_hook(mark)
    mark()
    for batch in trainer.batches(workers):
        mark()
        trainer.learn(batch)
        mark()
        on_batch()
    times = np.diff(marks).reshape(-1, len(PARTS))[WARM_UP_STEPS:]
    return dict(zip(PARTS, times.T))


def measure_side(recipe: Recipe, datasets: Sequence[Sequence[Sample]], side: int, steps: int,
                 workers: int = 1, device: torch.device = torch.device('cpu'),
                 on_batch: Callable[[], None] = lambda: None) -> SideSpeed:
    """
    Time the loader alone, then whole training steps with the loader at work beside them.

    :param recipe: whose network, batches, loss and augmentation are used
    :param datasets: of its sources, in their order
    :param side: of the square input, a multiple of 32
    :param steps: that are timed, from 1; ``WARM_UP_STEPS`` more come before them, both times
    :param workers: processes that read and augment; 0 does so in this one
    :param device: that computes
    :param on_batch: called after each batch of both
    :raises ConfigError: if the side is wrong
    """
    recipe = _at_side(recipe, side, WARM_UP_STEPS + steps)
    with TemporaryDirectory() as folder:
        trainer = Trainer(recipe, datasets, RunFolder(Path(folder)), {}, device)
        loader_seconds = _loader_seconds(trainer, workers, on_batch)
        seconds = _step_seconds(trainer, workers, device, on_batch)
    own, children = (1024 * resource.getrusage(who).ru_maxrss
                     for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return SideSpeed(side, recipe.batch_size, seconds, loader_seconds, own, children)
