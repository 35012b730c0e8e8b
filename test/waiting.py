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
"""Wait for what other processes and threads do, and find the processes that a test started."""

import time

import psutil

POLL_S = 0.002


def wait_for(condition, what, timeout_s=60.0):
    """Return once the condition holds; fail with ``what`` was waited for if it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f'{what} not met within {timeout_s} s'
        time.sleep(POLL_S)


def processes_with(variable, value):
    """Return the living processes whose environment holds it, which their children inherit."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == str(value) \
                    and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
