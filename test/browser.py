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
"""A headless Chromium for tests that look at a page as people do."""

from contextlib import contextmanager
import os
from pathlib import Path
import shutil

import pytest

FETCHED = Path(__file__).resolve().parent.parent / '.cache' / 'chromium'
NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chromium-headless-shell')


def find_chromium():
    """Return the path of a Chromium: that of $CHROMIUM, on PATH, or fetched; else None."""
    found = [os.environ.get('CHROMIUM'), *map(shutil.which, NAMES)]
    if (FETCHED / 'chromium').is_file():
        found.append(str(FETCHED / 'chromium'))
    return next(filter(None, found), None)


@contextmanager
def open_browser():
    """Give a playwright browser, or skip the test and say why."""
    playwright = pytest.importorskip('playwright.sync_api')
    path = find_chromium()
    if path is None:
        pytest.skip('no Chromium: neither $CHROMIUM nor one on PATH; tools/get_chromium.py '
                    'fetches one')
    environment = dict(os.environ)
    if Path(path).parent == FETCHED:
        environment.update(LD_LIBRARY_PATH=str(FETCHED / 'lib'), FONTCONFIG_PATH=str(FETCHED))
    with playwright.sync_playwright() as driver:
        # Containers let no browser build a sandbox of its own; the pages are ours.
        browser = driver.chromium.launch(
            executable_path=path, env=environment,
            args=['--no-sandbox', '--no-zygote', '--disable-gpu'])
        try:
            yield browser
        finally:
            browser.close()
