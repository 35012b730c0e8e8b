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
"""Time the path from a camera's message to the answers, stage by stage, without ROS."""

import argparse
from itertools import islice
import json
import os
from pathlib import Path
import sys
from typing import Optional, Sequence

from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.config import EngineConfig, ENGINES
from mtl_perception.errors import ConfigError

MAX_PICTURES = 100


def _table(benchmark):
    from rich.table import Table
    table = Table('stage', title_justify='left', title=', '.join(
        f'{name} {value}' for name, value in benchmark.conditions.items()
        if name in ('checkpoint', 'engine', 'device', 'threads', 'transport', 'frames')))
    for column in ('p50 ms', 'p95 ms', 'p99 ms', 'mean ms'):
        table.add_column(column, justify='right')
    for stage, values in benchmark.milliseconds().items():
        table.add_row(stage, *(f'{value:.2f}' for value in values.values()))
    return table


def _benchmark(arguments: argparse.Namespace) -> None:
    # Here, so that --help answers at once.
    from mtl_perception.benchmark import END_TO_END, run_benchmark
    from mtl_perception.checkpoint import load_checkpoint
    from mtl_perception.data.sources import open_frames
    from mtl_perception.data.tour import household_tour
    from mtl_perception.engine import build_engine
    from rich.console import Console
    if not 1 <= arguments.frames <= 10**6:
        raise ConfigError(f'expected --frames from 1 to 1000000, got {arguments.frames}')
    source = arguments.source or household_tour()
    threads = arguments.threads or len(os.sched_getaffinity(0))
    engine = build_engine(load_checkpoint(arguments.checkpoint),
                          EngineConfig(arguments.engine, arguments.device, threads))
    for warning in engine.warnings:
        print(f'warning: {warning}', file=sys.stderr)
    pictures = list(islice(open_frames(source), MAX_PICTURES))
    benchmark = run_benchmark(engine, pictures, arguments.frames, arguments.transport)
    benchmark.conditions.update(threads=threads, source=Path(source).name)
    Console().print(_table(benchmark))
    conditions, times_ms = benchmark.conditions, benchmark.milliseconds()
    print(f'{1e3 / times_ms[END_TO_END]["mean"]:.0f} frames/s in one process; '
          f'{conditions["cpu"]}, {conditions["cpus"]} CPUs, load {conditions["load_before"]} '
          f'before, {threads} threads; pictures {" ".join(conditions["picture_sizes"])}')
    if arguments.json:
        try:
            arguments.json.write_text(json.dumps(
                {'conditions': dict(conditions), 'milliseconds': times_ms}, indent=1) + '\n')
        except OSError as error:
            raise ConfigError(f'{arguments.json}: cannot be written: {error.strerror}') from None


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='benchmark', formatter_class=HelpFormatter, description=__doc__,
        epilog='Stages: decode (message to picture), preprocess, inference, postprocess,\n'
               'messages (four answers built and serialised). DDS is not in these times; the\n'
               "node's /diagnostics has them all.")
    parser.add_argument('checkpoint', nargs='?', default='household',
                        help='a name in weights/, or a path')
    parser.add_argument('--source', type=Path,
                        help="pictures, video or bag; the demo's household tour if not given")
    parser.add_argument('--frames', type=int, default=200, help='frames that are timed')
    parser.add_argument('--transport', choices=('raw', 'compressed'), default='raw',
                        help='how the pictures come')
    parser.add_argument('--engine', choices=ENGINES, default='auto', help='what runs the network')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--threads', type=int, default=0, help='CPU threads, 0 for all')
    parser.add_argument('--json', type=Path, help='write the figures there too')
    return run_command(_benchmark, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
