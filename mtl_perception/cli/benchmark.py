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
Time the path from a camera's message to the answers, and what others need for the same.

Stages in one process; the report's pipeline, three single-task networks and the bare
multiplications beside it, turn by turn; then camera, node and listener over DDS.
"""

import argparse
from importlib.util import find_spec
from itertools import islice
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any, Dict, Mapping, Optional, Sequence

from mtl_perception.cli.command import add_engine_arguments, HelpFormatter, run_command
from mtl_perception.config import EngineConfig
from mtl_perception.errors import ConfigError, PerceptionError

MAX_PICTURES = 100
FRAMES, QUICK_FRAMES = 200, 50
# What each ratio is to be.
AT_LEAST = {'vs_report_pipeline': 8.0, 'vs_three_models_torch': 10.0, 'vs_three_models_onnx': 4.0,
            'int8_speedup': 1.3}
AT_MOST = {'over_floor': 4.0, 'node_overhead': 0.35}
PEER_TURNS, QUICK_PEER_TURNS = 10, 2
# Each contender's process gets a copy.
RACE_PICTURES = 24
PRECISION_ROUNDS = 100
DDS = 'mtl_perception.ros.dds_benchmark'


def _table(title: str, first: str, times_ms: Mapping[str, Mapping[str, float]]):
    from rich.table import Table
    table = Table(first, title=title, title_justify='left')
    for column in next(iter(times_ms.values())):
        table.add_column(f'{column} ms', justify='right')
    for name, values in times_ms.items():
        table.add_row(name, *(f'{value:.2f}' for value in values.values()))
    return table


def verdicts(ratios: Mapping[str, Optional[float]]):
    """Return the table of all ratios, each beside what it is to be."""
    from rich.table import Table
    table = Table('ratio', 'value', 'wanted', '', title='ratios', title_justify='left')
    for bars, words in ((AT_LEAST, 'at least'), (AT_MOST, 'at most')):
        for name, bar in bars.items():
            value = ratios[name]
            if value is None:
                table.add_row(name, '', f'{words} {bar:g}', 'not measured')
                continue
            passed = value >= bar if bars is AT_LEAST else value <= bar
            table.add_row(name, f'{value:.2f}', f'{words} {bar:g}',
                          '[green]pass[/]' if passed else '[red]FAIL[/]')
    return table


def _run_stages(arguments: argparse.Namespace, engine, pictures, console) -> Dict[str, Any]:
    from mtl_perception.benchmark import END_TO_END, run_benchmark, WARM_UP_FRAMES
    from tqdm import tqdm
    with tqdm(total=arguments.frames + WARM_UP_FRAMES, desc='stages', unit='frame',
              leave=False, delay=0.5) as bar:
        benchmark = run_benchmark(engine, pictures, arguments.frames, arguments.transport,
                                  on_frame=bar.update)
    conditions, times_ms = benchmark.conditions, benchmark.milliseconds()
    conditions.update(threads=arguments.threads)
    console.print(_table(', '.join(
        f'{name} {value}' for name, value in conditions.items()
        if name in ('checkpoint', 'engine', 'provider', 'precision', 'threads', 'transport')),
        'stage', times_ms))
    print(f'{1e3 / times_ms[END_TO_END]["mean"]:.0f} frames/s in one process; '
          f'{conditions["cpu"]}, {conditions["cpus"]} CPUs, load {conditions["load_before"]} '
          f'before, {arguments.threads} threads; pictures '
          + ', '.join(f'{source} as {shape}'
                      for source, shape in conditions['network_input'].items()))
    return {'conditions': dict(conditions), 'milliseconds': times_ms}


def _run_precisions(arguments: argparse.Namespace, checkpoint, pictures, console
                    ) -> Dict[str, Any]:
    from mtl_perception.precision_speed import run_precision_speed, WARM_UP_ROUNDS
    from tqdm import tqdm
    images = [frame.image for frame in pictures]
    with tqdm(total=PRECISION_ROUNDS + WARM_UP_ROUNDS, desc='precisions', unit='round',
              leave=False, delay=0.5) as bar:
        speed = run_precision_speed(checkpoint, images, PRECISION_ROUNDS, arguments.threads,
                                    bar.update)
    times_ms, ratios = speed.milliseconds(), speed.ratios()
    console.print(_table('the network alone on the CPU', 'with', {
        speed.providers[name]: values for name, values in times_ms.items()}))
    print('  '.join(f'{name} {value:.2f}x' for name, value in ratios.items())
          or f'no int8_speedup: {checkpoint.folder} has no model.int8.onnx')
    return {'precisions_milliseconds': times_ms, 'ratios': ratios}


def _run_peers(arguments: argparse.Namespace, engine, pictures, console) -> Dict[str, Any]:
    from mtl_perception.race import RacePlan, run_race
    from tqdm import tqdm
    images = [frame.image for frame in pictures[:RACE_PICTURES]
              if frame.image.shape == pictures[0].image.shape]
    plan = RacePlan(arguments.checkpoint, _engine_config(arguments), images)
    is_bfloat16 = engine.precision == 'bfloat16'
    turns = QUICK_PEER_TURNS if arguments.quick else PEER_TURNS
    with tqdm(total=turns + 1, desc='peers', unit='turn', leave=False, delay=0.5) as bar:
        race = run_race(plan, turns, is_bfloat16, bar.update)
    times_ms, ratios = race.milliseconds(), race.ratios()
    height, width = images[0].shape[:2]
    console.print(_table(f'{width}x{height}, from decoded picture to boxes, mask and class, each '
                         'in a process of its own; peers have random weights', 'who', times_ms))
    print(f'floor: {race.multiply_adds / 1e9:.2f} GMACs at {race.flops / 1e9:.0f} GFLOP/s '
          f'(float32 matrix product, {arguments.threads} threads) need {race.floor_ms:.1f} ms')
    if is_bfloat16:
        print(f'the network runs in bfloat16, whose matrix product does '
              f'{race.bfloat16_flops / 1e9:.0f} GFLOP/s here; over_floor is over the float32 one')
    return {'peers_milliseconds': times_ms, 'ratios': ratios,
            'floor': {'multiply_adds': race.multiply_adds, 'flops': race.flops,
                      'bfloat16_flops': race.bfloat16_flops, 'milliseconds': race.floor_ms}}


def _run_dds(arguments: argparse.Namespace) -> Dict[str, Any]:
    """Run the benchmark with ROS in a process of its own: nothing here imports ROS."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'dds.json'
        status = subprocess.run([
            sys.executable, '-m', DDS, arguments.checkpoint, '--json', str(report), '--threads',
            str(arguments.threads), '--engine', arguments.engine, '--device', arguments.device,
            '--precision', arguments.precision, *(['--quick'] if arguments.quick else [])
        ]).returncode
        if status != 0:
            raise PerceptionError(f'the benchmark over DDS ended with status {status}; leave it '
                                  'out with --no-dds')
        return json.loads(report.read_text())


def _engine_config(arguments: argparse.Namespace) -> EngineConfig:
    return EngineConfig(arguments.engine, arguments.device, arguments.threads,
                        precision=arguments.precision)


def _benchmark(arguments: argparse.Namespace) -> None:
    # Here, so that --help answers at once.
    from mtl_perception.checkpoint import load_checkpoint
    from mtl_perception.data.sources import open_frames
    from mtl_perception.data.tour import household_tour
    from mtl_perception.engine import build_engine
    from rich.console import Console
    if arguments.frames is not None and not 1 <= arguments.frames <= 10**6:
        raise ConfigError(f'expected --frames from 1 to 1000000, got {arguments.frames}')
    if arguments.json:
        try:
            arguments.json.touch()  # now, not after minutes of measuring
        except OSError as error:
            raise ConfigError(f'{arguments.json}: cannot be written: {error.strerror}') from None
    arguments.threads = arguments.threads or len(os.sched_getaffinity(0))
    arguments.frames = arguments.frames or (QUICK_FRAMES if arguments.quick else FRAMES)
    checkpoint = load_checkpoint(arguments.checkpoint)
    engine = build_engine(checkpoint, _engine_config(arguments))
    engine.prepare()
    for warning in engine.warnings:
        print(f'warning: {warning}', file=sys.stderr)
    source = arguments.source or household_tour()
    pictures = list(islice(open_frames(source), MAX_PICTURES))
    console = Console()
    document = _run_stages(arguments, engine, pictures, console)
    document['conditions']['source'] = Path(source).name
    document['ratios'] = dict.fromkeys([*AT_LEAST, *AT_MOST])
    figures = _run_precisions(arguments, checkpoint, pictures, console)
    document['ratios'].update(figures.pop('ratios'))
    document.update(figures)
    for part, needed, run in (
            ('peers', 'torchvision', lambda: _run_peers(arguments, engine, pictures, console)),
            ('dds', 'rclpy', lambda: {'dds': _run_dds(arguments)})):
        if not getattr(arguments, part):
            continue
        if find_spec(needed) is None:
            print(f'{part} left out: expected {needed}, got none; make setup-train brings it')
            continue
        figures = run()
        document['ratios'].update(figures.pop('ratios', {}))
        document.update(figures)
    if 'dds' in document:
        document['ratios']['node_overhead'] = document['dds']['node_overhead']
    console.print(verdicts(document['ratios']))
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + '\n')


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='benchmark', formatter_class=HelpFormatter, description=__doc__,
        epilog='Stages: decode (message to picture), preprocess, inference, postprocess,\n'
               'messages (four answers built and serialised). A node that runs has its own in\n'
               '/diagnostics.')
    parser.add_argument('checkpoint', nargs='?', default='household',
                        help='a name in weights/, or a path')
    parser.add_argument('--source', type=Path,
                        help="pictures, video or bag; the demo's household tour if not given")
    parser.add_argument('--frames', type=int,
                        help=f'frames that are timed; None is {FRAMES}, with --quick '
                             f'{QUICK_FRAMES}')
    parser.add_argument('--quick', action='store_true',
                        help='a short look at everything, in place of minutes')
    parser.add_argument('--transport', choices=('raw', 'compressed'), default='raw',
                        help='how the pictures come')
    add_engine_arguments(parser)
    parser.add_argument('--threads', type=int, default=0, help='CPU threads, 0 for all')
    parser.add_argument('--peers', action=argparse.BooleanOptionalAction, default=True,
                        help="time the report's pipeline, three torchvision networks and the "
                             'floor beside it; needs torch')
    parser.add_argument('--dds', action=argparse.BooleanOptionalAction, default=True,
                        help='time camera, node and listener over DDS; needs ROS')
    parser.add_argument('--json', type=Path, help='write the figures there too')
    return run_command(_benchmark, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
