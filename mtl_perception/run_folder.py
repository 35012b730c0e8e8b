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
"""The folder of a training run: its saved state, and its log of losses and figures."""

from dataclasses import dataclass
import json
import os
from pathlib import Path
import time
from typing import Any, Dict, List

from mtl_perception.errors import ConfigError
import torch

STATE = 'state.pt'
LOG = 'metrics.jsonl'


@dataclass(frozen=True)
class RunFolder:
    """
    The files of one run.

    :param path: of the folder
    """

    path: Path

    @property
    def state(self) -> Path:
        """Return the path of the saved state."""
        return self.path / STATE

    @property
    def log(self) -> Path:
        """Return the path of the log, one JSON object a line."""
        return self.path / LOG

    def read_state(self) -> Dict[str, Any]:
        """
        Return the saved state.

        :raises ConfigError: if there is none, or it is damaged
        """
        if not self.state.is_file():
            raise ConfigError(f'{self.path}: expected the folder of a training run, '
                              f'got no {STATE}; run train first')
        try:
            return torch.load(self.state, map_location='cpu', weights_only=True)
        except Exception as error:
            reason = ' '.join(str(error).split())[:200]
            raise ConfigError(f'{self.state}: expected a state that train saved, '
                              f'got: {reason}') from None

    def write_state(self, state: Dict[str, Any]) -> None:
        """Replace the saved state, whole or not at all."""
        partial = self.state.with_suffix('.partial')
        torch.save(state, partial)
        os.replace(partial, self.state)

    def read_log(self) -> List[Dict[str, Any]]:
        """Return the log's entries; a line that was cut off is left out."""
        entries = []
        for line in self.log.read_text().splitlines() if self.log.is_file() else ():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        return entries

    def write_log(self, entries: List[Dict[str, Any]]) -> None:
        """Replace the log."""
        self.log.write_text(''.join(json.dumps(entry) + '\n' for entry in entries))

    def append_log(self, entry: Dict[str, Any]) -> None:
        """Add one entry to the log."""
        with open(self.log, 'a') as file:
            file.write(json.dumps(entry) + '\n')


class Meter:
    """Mean losses and speed since they were last read."""

    def __init__(self):
        """Start the clock."""
        self._start()

    def _start(self) -> None:
        self._sums, self._steps, self._images = {}, 0, 0
        self._since = time.perf_counter()

    def add(self, losses: Dict[str, float], images: int) -> None:
        """Count one step."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._images += images

    def read(self, step: int) -> Dict[str, Any]:
        """Return a log entry, and start anew."""
        speed = self._images / (time.perf_counter() - self._since)
        entry = {'step': step, 'kind': 'train', 'images_per_second': round(speed, 2)}
        entry.update({name: round(value / self._steps, 5) for name, value in self._sums.items()})
        self._start()
        return entry
