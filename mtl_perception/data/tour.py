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
"""The sequence that the demo and the benchmark play."""

import os
from pathlib import Path
import sys

from mtl_perception.errors import SourceError

NAME = 'household_tour.mp4'


def household_tour() -> Path:
    """
    Return the video of a camera that moves round a few household scenes.

    :raises SourceError: if it is neither in the source tree nor installed
    """
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    paths = [Path(__file__).resolve().parents[2] / 'test' / 'data' / NAME,
             *(Path(prefix) / 'share' / 'mtl_perception' / 'demo' / NAME
               for prefix in prefixes if prefix)]
    for path in paths:
        if path.is_file():
            return path
    raise SourceError(f'expected {NAME} in {" or ".join(str(path.parent) for path in paths)}, '
                      'got none; fetch the repository again')
