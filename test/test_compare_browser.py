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
"""The page of a comparison in a real browser: desktop and phone, light and dark."""

from browser import open_browser
from colour_weights import picture, save_colour_weights
import cv2
from mtl_perception.cli.compare import main
import pytest
from test_compare import variant

SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shifted += entry.value;
}).observe({type: 'layout-shift', buffered: true});
"""
FRAMES = 12


@pytest.fixture(scope='module')
def page_url(tmp_path_factory):
    """Return the address of a page of twelve frames that differ in a class or in none."""
    folder = tmp_path_factory.mktemp('compare')
    weights = save_colour_weights(folder / 'colours')
    other = variant(weights, folder / 'weights_of_a_name_that_is_rather_long', sees_blue=False)
    (folder / 'photos').mkdir()
    for index in range(FRAMES):
        squares = {'red': (16 * (index % 4), 16)} if index % 3 else {}
        small = picture(blue=(16 * (index % 5), 64), **squares)
        cv2.imwrite(str(folder / 'photos' / f'kitchen_{index:02d}.png'),
                    cv2.resize(small, (640, 480), interpolation=cv2.INTER_NEAREST))
    assert main([str(weights.folder), str(other.folder), '--on', str(folder / 'photos'),
                 '--out', str(folder / 'page')]) == 0
    return (folder / 'page' / 'index.html').as_uri()


@pytest.fixture(scope='module')
def browser():
    with open_browser() as found:
        yield found


class Visit:
    """A page, and what it complained of or asked for."""

    def __init__(self, browser, url, width, scheme='light', script=True):
        """Open the page."""
        self.context = browser.new_context(viewport={'width': width, 'height': 800},
                                           color_scheme=scheme, java_script_enabled=script)
        self.complaints, self.asked = [], []
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.page.on('console', lambda message: self.complaints.append(message.text))
        self.page.on('pageerror', lambda error: self.complaints.append(str(error)))
        self.page.on('requestfailed', lambda request: self.complaints.append(request.url))
        self.page.on('request', lambda request: self.asked.append(request.url))
        if script:
            self.page.add_init_script(SHIFTS)
        self.page.goto(url)

    def scroll_through(self):
        """Come by every picture, as lazy ones need it."""
        for card in self.page.locator('.card img').all():
            card.scroll_into_view_if_needed()
        self.page.wait_for_function(
            '[...document.querySelectorAll(".card img")].every((image) => image.complete)')


@pytest.fixture
def visit(browser, page_url):
    visits = []

    def open_page(*arguments, **options):
        visits.append(Visit(browser, page_url, *arguments, **options))
        return visits[-1]
    yield open_page
    for one in visits:
        one.context.close()


@pytest.mark.parametrize('width', [1280, 390, 320])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_page_fits_and_loads_its_pictures(visit, width, scheme):
    seen = visit(width, scheme)
    seen.scroll_through()
    page = seen.page
    widths = page.evaluate('[...document.querySelectorAll(".card img")].map(i => i.naturalWidth)')
    assert widths == [640] * (2 * FRAMES)
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert page.evaluate('window.shifted') < 0.01
    assert seen.complaints == []
    assert all(url.startswith(('file:', 'data:')) for url in seen.asked)
    ground = page.evaluate('getComputedStyle(document.body).backgroundColor')
    brightness = sum(map(int, ground.removeprefix('rgb(').rstrip(')').split(','))) / 3
    assert brightness > 200 if scheme == 'light' else brightness < 60


def test_frames_are_filtered_and_ordered(visit):
    page = visit(1280).page
    cards = page.locator('.card:visible')
    assert cards.count() == FRAMES and page.locator('#count').inner_text() == '12 of 12 frames'
    ranks = page.locator('.card .score').all_inner_texts()
    assert ranks == sorted(ranks, reverse=True)
    page.select_option('#order', 'index')
    names = page.locator('.card h3').all_inner_texts()
    assert names == [f'kitchen_{index:02d}' for index in range(FRAMES)]
    assert page.locator('#class option').all_inner_texts() == ['any', 'blue']
    page.select_option('#class', 'blue')
    assert cards.count() == FRAMES
    page.select_option('#task', 'image class')
    assert cards.count() == 0 and page.locator('#count').inner_text() == '0 of 12 frames'
    page.select_option('#task', 'mask')
    assert cards.count() == FRAMES


def test_a_picture_is_enlarged_and_closed(visit):
    seen = visit(1280)
    page = seen.page
    page.locator('.card a[data-picture]').first.click()
    viewer = page.locator('#viewer')
    assert viewer.is_visible() and viewer.locator('img').count() == 2
    title = viewer.locator('h2').inner_text()
    assert title == page.locator('.card h3').first.inner_text()
    page.keyboard.press('ArrowRight')
    assert viewer.locator('h2').inner_text() == page.locator('.card h3').nth(1).inner_text()
    page.keyboard.press('ArrowLeft')
    assert viewer.locator('h2').inner_text() == title
    page.click('#blink')
    assert viewer.locator('figure:visible').count() == 1
    page.click('#blink')
    assert viewer.locator('figure:visible').count() == 2
    page.keyboard.press('Escape')
    assert not viewer.is_visible() and seen.complaints == []


def test_the_timeline_leads_to_the_frames(visit):
    seen = visit(390)
    page = seen.page
    page.hover('.plot', position={'x': 5, 'y': 100})
    assert page.locator('#readout').inner_text().startswith('frame 0: 0.')
    page.locator('.dot').nth(4).focus()
    page.keyboard.press('Enter')
    page.wait_for_function('location.hash === "#frame-4"')
    # The last card cannot come to the top of the window.
    page.wait_for_function('(top => 0 < top && top < 600)'
                           '(document.getElementById("frame-4").getBoundingClientRect().top)')
    page.select_option('#task', 'image class')
    page.locator('.plot').click(position={'x': 340, 'y': 100})
    page.wait_for_function('location.hash === "#frame-11"')
    assert page.locator('#frame-11').is_visible() and seen.complaints == []


def test_the_page_reads_without_script(visit):
    seen = visit(390, script=False)
    page = seen.page
    assert page.locator('.card:visible').count() == FRAMES
    assert page.locator('.timeline path').count() == 4
    assert not page.locator('#controls').is_visible()
    assert page.get_by_text('Click a picture').count() == 0 or not \
        page.get_by_text('Click a picture').is_visible()
    page.locator('.card a[data-picture]').first.click()
    assert page.url.endswith('_a.jpg') and seen.complaints == []
