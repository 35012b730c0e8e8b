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
"""What the processes that do the parts of a bag are forked with."""

import multiprocessing
import os
import sys

from mtl_perception.bag_workers import KEEP_MEMORY, PRELOAD, prepare_processes


def _tell(answers) -> None:
    # What the process has as it begins; os.environ is that of the process it is forked from.
    answers.put(({name: os.environ.get(name) for name in KEEP_MEMORY},
                 PRELOAD in sys.modules))


def test_workers_keep_memory_and_begin_with_their_imports():
    before = dict(os.environ)
    prepare_processes()
    assert dict(os.environ) == before, 'the environment of who calls is its own'
    context = multiprocessing.get_context('forkserver')
    answers = context.SimpleQueue()
    process = context.Process(target=_tell, args=(answers,))
    process.start()
    assert answers.get() == (KEEP_MEMORY, True)
    process.join()
    assert process.exitcode == 0
