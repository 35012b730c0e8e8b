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
"""What docs/RELIABILITY.md shows, made of the numbers in docs/reliability.json."""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping

from mtl_perception.markdown import markdown_table
from page_places import fill_places

TITLES = {
    'frames': 'frames without end', 'malformed_images': 'malformed images',
    'malformed_compressed': 'malformed JPEG, PNG and others',
    'malformed_bytes': 'bytes that are no message', 'parameters': 'parameters set at random',
    'lifecycle': 'lifecycle, up and down', 'flood': 'a camera that is too fast',
    'slow_listener': 'a listener that is too slow', 'camera_killed': 'camera killed',
    'node_killed': 'node killed', 'node_stopped': 'node stopped and continued',
    'disk_full': 'disk full', 'clock_jumps': 'clock jumps'}

Document = Mapping[str, Any]


def read(path: Path) -> Document:
    """Return the document of a file."""
    return json.loads(path.read_text('utf-8'))


def results(document: Document) -> str:
    """Return what every check did, expected and saw."""
    rows: List[List[str]] = [['check', 'what is done', 'expected', 'seen', 'passed']]
    for name, row in document['checks'].items():
        rows.append([TITLES[name], row['done'], row['expected'], _cell(row['seen']),
                     'yes' if row['passed'] else '**no**'])
    return markdown_table(rows, len(rows[0]))


def _cell(text: str) -> str:
    return ' '.join(text.replace('|', '/').split())


def summary(document: Document) -> str:
    """Return how many checks passed, where and in what time."""
    checks, where = document['checks'], document['conditions']
    minutes = sum(row['seconds'] for row in checks.values()) / 60
    passed = sum(row['passed'] for row in checks.values())
    return (f'{passed} of {len(checks)} checks passed, in {minutes:.0f} minutes: {where["cpu"]}, '
            f'{where["cores"]} cores, Python {where["python"]}, {where["middleware"]} with '
            f'{where["transports"]} for transports, weights {where["weights"]}.')


TABLES = {'summary': summary, 'results': results}


def fill(page: str, document: Document) -> str:
    """
    Return the page with its tables made anew.

    :param document: of reliability.json
    """
    return fill_places(page, {name: make(document) for name, make in TABLES.items()})


def draw(document: Document, path: Path) -> None:
    """
    Draw the node's resident memory in the course of the long checks.

    :param document: of reliability.json
    :param path: PNG
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(8, 3.6), dpi=100)
    panel = figure.subplots()
    found: Dict[str, List[float]] = {
        name: check['figures']['resident_mb'] for name, check in document['checks'].items()
        if 'resident_mb' in check['figures']}
    for name, megabytes in found.items():
        share = [100 * index / max(1, len(megabytes) - 1) for index in range(len(megabytes))]
        panel.plot(share, megabytes, label=TITLES[name])
    panel.set_ylim(0, 1.4 * max(map(max, found.values()), default=1))
    panel.set_xlim(0, 100)
    panel.set_xlabel('% of the check, warm-up excluded')
    panel.set_ylabel('resident memory, MB')
    panel.grid(alpha=0.3)
    panel.legend(loc='upper right', ncols=2, fontsize=9)
    figure.tight_layout()
    FigureCanvasAgg(figure).print_png(str(path))
