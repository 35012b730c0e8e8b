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
Do to the node what a robot's life does, and see whether it keeps what it promises.

Every check starts the real node in a ROS domain of its own on this machine and talks to it over
DDS. The long form writes docs/reliability.json and the tables and the picture of RELIABILITY.md.
"""

import argparse
from dataclasses import asdict, dataclass
import json
import os
from pathlib import Path
import platform
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Sequence

from mtl_perception.benchmark import _cpu_name
from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.errors import PerceptionError
import soak_page
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / 'docs'
NUMBERS, PAGE, PICTURE = 'reliability.json', 'RELIABILITY.md', 'reliability.png'
FAILED = 1


@dataclass(frozen=True)
class Check:
    """
    One thing that is done to the node.

    :param place: module and function, called with a ``Bench`` and a count
    :param count: of what is done, in the long form
    :param short: the same in the short form
    :param unit: of the count
    """

    place: str
    count: int
    short: int
    unit: str

    @property
    def run(self) -> Callable:
        """Return the function; only then is ROS loaded, which reads its environment once."""
        module, _, function = self.place.partition('.')
        return getattr(__import__(module), function)


CHECKS = {
    'frames': Check('soak_endurance.endurance', 20_000, 150, 'frames'),
    'malformed_images': Check('soak_malformed.malformed_images', 12_000, 300, 'messages'),
    'malformed_compressed': Check('soak_malformed.malformed_compressed', 12_000, 300, 'messages'),
    'malformed_bytes': Check('soak_malformed.malformed_bytes', 2_000, 300, 'messages'),
    'parameters': Check('soak_parameters.parameters', 5_000, 50, 'changes'),
    'lifecycle': Check('soak_endurance.lifecycle', 200, 3, 'cycles'),
    'flood': Check('soak_load.flood', 60, 3, 's'),
    'slow_listener': Check('soak_load.slow_listener', 300, 8, 'frames'),
    'camera_killed': Check('soak_faults.camera_killed', 5, 1, 'times'),
    'node_killed': Check('soak_faults.node_killed', 5, 1, 'times'),
    'node_stopped': Check('soak_faults.node_stopped', 20, 1, 'times'),
    'disk_full': Check('soak_faults.disk_full', 30, 6, 'frames'),
    'clock_jumps': Check('soak_faults.clock_jumps', 100, 3, 'jumps'),
}


def isolate(log_folder: str) -> None:
    """Keep this process and its children in a domain of their own, as a user has it set up."""
    from mtl_perception.ros.domain import free_domain
    os.environ.update(ROS_DOMAIN_ID=str(free_domain()), ROS_LOG_DIR=log_folder,
                      ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST')
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'  # its name for the same
    # The transports that a user who sets nothing has.
    os.environ.pop('FASTDDS_BUILTIN_TRANSPORTS', None)


def run_check(check: Check, bench, count: int) -> Dict[str, Any]:
    """Return what a check did and saw, with the seconds that it took."""
    from soak_figures import Row
    start = time.monotonic()
    try:
        row = check.run(bench, count)
    except (AssertionError, PerceptionError, OSError, subprocess.SubprocessError) as error:
        row = Row(f'{count:,} {check.unit}', 'that the check comes to its end',
                  f'{type(error).__name__}: {error}', False)
    return {**asdict(row), 'seconds': time.monotonic() - start}


def conditions(checkpoint: str) -> Dict[str, Any]:
    """Return what the numbers depend on."""
    from rclpy.utilities import get_rmw_implementation_identifier
    return {'cpu': _cpu_name(), 'cores': len(os.sched_getaffinity(0)),
            'python': platform.python_version(), 'weights': checkpoint,
            'middleware': get_rmw_implementation_identifier(), 'transports': 'the defaults'}


def run_checks(names: Sequence[str], counts: Dict[str, int], checkpoint: str) -> Dict[str, Any]:
    """Return the document of the checks, shown as they go."""
    import rclpy
    from soak_bench import Bench, SoakClient
    found: Dict[str, Any] = {}
    rclpy.init(args=[])
    try:
        with SoakClient() as client, tempfile.TemporaryDirectory() as folder:
            for number, name in enumerate(names, 1):
                place = Path(folder, name)
                place.mkdir()
                with tqdm(total=counts[name], unit=f' {CHECKS[name].unit}', leave=False,
                          desc=f'{number} of {len(names)}: {name}',
                          mininterval=0.1 if sys.stderr.isatty() else 10.0) as bar:
                    found[name] = run_check(CHECKS[name], Bench(
                        client, checkpoint, place, bar.update), counts[name])
                row = found[name]
                tqdm.write(f'{"pass" if row["passed"] else "FAIL"}  {name} '
                           f'({row["seconds"]:.0f} s): {row["seen"]}', file=sys.stderr)
    finally:
        rclpy.try_shutdown()
    return {'conditions': conditions(checkpoint), 'checks': found}


def write(document: Dict[str, Any]) -> None:
    """Write numbers, page and picture; checks that were not run keep what they had."""
    path = DOCS / NUMBERS
    before = soak_page.read(path)['checks'] if path.exists() else {}
    checks = {name: {**before, **document['checks']}[name] for name in CHECKS
              if name in before or name in document['checks']}
    document = {**document, 'checks': checks}
    path.write_text(json.dumps(document, indent=1, default=float) + '\n', 'utf-8')
    page = DOCS / PAGE
    page.write_text(soak_page.fill(page.read_text('utf-8'), document), 'utf-8')
    soak_page.draw(document, DOCS / PICTURE)


def _soak(arguments: argparse.Namespace) -> int:
    names: List[str] = [name for name in CHECKS if not arguments.only or name in arguments.only]
    counts = {name: CHECKS[name].short if arguments.short else CHECKS[name].count
              for name in names}
    with tempfile.TemporaryDirectory() as log_folder:
        isolate(log_folder)
        document = run_checks(names, counts, arguments.checkpoint)
    if not arguments.short:
        write(document)
    if arguments.json:
        print(json.dumps(document, indent=1, default=float))
    else:
        print(soak_page.summary(document))
    return 0 if all(row['passed'] for row in document['checks'].values()) else FAILED


def main(argv=None) -> int:
    """Run the checks."""
    parser = argparse.ArgumentParser(prog='soak', formatter_class=HelpFormatter,
                                     description=__doc__)
    parser.add_argument('--only', nargs='+', choices=tuple(CHECKS), default=(), metavar='NAME',
                        help=f'these checks: {", ".join(CHECKS)}')
    parser.add_argument('--short', action='store_true',
                        help='a little of each, in a minute or two; writes nothing')
    parser.add_argument('--json', action='store_true', help='print all numbers, for programs')
    parser.add_argument('--checkpoint', default='household',
                        help='weights: a name in weights/, or a path')
    return run_command(_soak, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
