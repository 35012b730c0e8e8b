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

from contextlib import contextmanager
import ctypes
from pathlib import Path
import signal
import subprocess
import sys
from typing import Iterator, List, Optional, Sequence

END_S = 5.0
PR_SET_PDEATHSIG = 1
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _end_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent is gone, even if it was killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _signals_later() -> Iterator[None]:
    """Hold back signals for what must not stop half way; they come when it is done."""
    arrived: List[int] = []
    handlers = {number: signal.signal(number, lambda number, _: arrived.append(number))
                for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number in arrived[:1]:
        signal.raise_signal(number)


class Child:
    """
    A process with its output in a file.

    Whoever starts one makes sure beforehand that ``end`` will be called. Main thread only.

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

    def start(self) -> None:
        """Start it, out of reach of the terminal's Ctrl-C: the parent ends it."""
        with self._log.open('wb') as output, _signals_later():
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == 'linux' else None)

    def end(self) -> None:
        """Ask it to end, wait, and if it does not, kill it; nothing if it was never started."""
        with _signals_later():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                if self.status is None and self._process is not None:
                    self._process.send_signal(number)
                    self._wait()

    def _wait(self) -> None:
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            pass

    @property
    def status(self) -> Optional[int]:
        """Return its exit status; None while it runs and before."""
        return self._process.poll() if self._process is not None else None

    def last_lines(self, count: int = 8) -> str:
        """Return the end of what it printed."""
        lines = self._log.read_text(errors='replace').splitlines()
        return '\n'.join(lines[-count:]) or '(it printed nothing)'
