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
"""Executables of this package as child processes that never outlive their parent."""

import ctypes
from pathlib import Path
import signal
import subprocess
import sys
from types import TracebackType
from typing import Optional, Sequence, Type

END_S = 5.0
PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent is gone, even if it was killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """
    A process with its output in a file, ended at the latest when the block is left.

    :param module: with a ``main``
    :param arguments: of the command line
    :param log: file for what it prints; its stem is the process's name for people
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path):
        """Remember what to start."""
        self.name = log.stem
        self._command = [sys.executable, '-m', module, *arguments]
        self._log = log
        self._process: Optional[subprocess.Popen] = None

    def __enter__(self) -> 'Child':
        """Start it, out of reach of the terminal's Ctrl-C: the parent ends it."""
        with self._log.open('wb') as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == 'linux' else None)
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        """Ask it to end, wait, and if it does not, kill it."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                continue

    @property
    def status(self) -> Optional[int]:
        """Return its exit status; None while it runs."""
        return self._process.poll()

    def last_lines(self, count: int = 8) -> str:
        """Return the end of what it printed."""
        lines = self._log.read_text(errors='replace').splitlines()
        return '\n'.join(lines[-count:]) or '(it printed nothing)'
