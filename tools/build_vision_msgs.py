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
"""Generate vision_msgs from msgs/vision_msgs into the virtual environment that runs this."""

import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import sysconfig

import numpy

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(sys.prefix)
BUILD = VENV / 'tmp' / 'vision_msgs'
# The wheels' exported CMake files name the folders of the machine that built them.
BUILDER = r'/opt/python/cp\d+-cp\d+'
HERE = (
    (BUILDER + r'/include/python[\d.]+', sysconfig.get_paths()['include']),
    (BUILDER + r'/lib/python[\d.]+/site-packages/numpy/_core/include', numpy.get_include()),
    (BUILDER, str(VENV)),
)


def name_this_machine():
    """Replace the builder's folders in the wheels' CMake files by this environment's."""
    for path in (VENV / 'share').rglob('*.cmake'):
        text = before = path.read_text()
        for pattern, folder in HERE:
            text = re.sub(pattern, lambda _: folder, text)
        if text != before:
            path.write_text(text)


def main():
    """Configure, build and install vision_msgs."""
    name_this_machine()
    shutil.rmtree(BUILD, ignore_errors=True)
    environment = dict(os.environ, PATH=f'{VENV / "bin"}{os.pathsep}{os.environ["PATH"]}')
    for command in (
            ['cmake', '-G', 'Ninja', '-S', str(ROOT / 'msgs' / 'vision_msgs'), '-B', str(BUILD),
             f'-DCMAKE_PREFIX_PATH={VENV}', f'-DCMAKE_INSTALL_PREFIX={VENV}',
             f'-DPython3_EXECUTABLE={VENV / "bin" / "python"}', '-DBUILD_TESTING=OFF'],
            ['ninja', '-C', str(BUILD), 'install']):
        subprocess.run([str(VENV / 'bin' / command[0]), *command[1:]], env=environment,
                       check=True)


if __name__ == '__main__':
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f'{Path(error.cmd[0]).name} failed with status {error.returncode}')
