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
"""Run one long command quietly: its output goes to a log, its last line and the time show."""

import shutil
import signal
import subprocess
import sys
import time

TAIL_LINES = 15
SECONDS_BETWEEN_LINES = 10.0


class StepFailed(Exception):
    """A command of the set-up ended with an error; the message is the end of its output."""


def _tail(log_path, start, lines):
    with open(log_path, 'rb') as log:
        log.seek(0, 2)
        log.seek(max(start, log.tell() - 8192))
        text = log.read().decode(errors='replace')
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def _show(text):
    width = shutil.get_terminal_size().columns - 1
    print(f'\r\x1b[K{text[:width]}', end='', flush=True)


def run_step(title, command, log_path, **options):
    """
    Run ``command``, showing ``title``, the seconds so far and the command's last line of output.

    On a terminal one line is rewritten; elsewhere a line comes every ten seconds.

    :param title: what the person waiting reads
    :param command: list of arguments
    :param log_path: file to which the output is appended
    :param options: passed on to ``subprocess.Popen``
    :raises StepFailed: if the command ends with a status other than 0
    """
    terminal = sys.stdout.isatty()
    began = shown = time.monotonic()
    with open(log_path, 'ab') as log:
        log.write(f'\n$ {" ".join(map(str, command))}\n'.encode())
        log.flush()
        start = log.tell()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, **options)
    if not terminal:
        print(title, flush=True)
    try:
        while True:
            try:
                status = process.wait(0.2)
                break
            except subprocess.TimeoutExpired:
                now = time.monotonic()
                last = ' '.join(_tail(log_path, start, 1))
                if terminal:
                    _show(f'{title}  {now - began:3.0f} s  {last}')
                elif now - shown >= SECONDS_BETWEEN_LINES:
                    shown = now
                    print(f'{title}  {now - began:3.0f} s  {last[:80]}', flush=True)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if terminal:
            _show('')
    seconds = time.monotonic() - began
    if status != 0:
        print(f'{title}  failed after {seconds:.0f} s', flush=True)
        raise StepFailed('\n'.join(_tail(log_path, start, TAIL_LINES)))
    print(f'{title}  {seconds:.0f} s', flush=True)
