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
Time camera, node and subscriber, three processes over real DDS, and the node's start-up.

Fixed rates and the peak rate, on the transports that a user who sets nothing has and on those
for large data, in a ROS domain of their own.
"""

import argparse
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import re
import secrets
import signal
import statistics
import sys
import tempfile
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from mtl_perception.cli.command import add_engine_arguments, HelpFormatter, run_command
from mtl_perception.config import EngineConfig
from mtl_perception.errors import ConfigError
from mtl_perception.ros.child import ENDING_SIGNALS
from mtl_perception.ros.domain import free_domain

RUNS, RUN_S, PEAK_TRIALS, TRIAL_S = 5, 4.0, 6, 3.0
QUICK_RUNS, QUICK_S, QUICK_TRIALS, QUICK_TRIAL_S = 1, 2.0, 4, 1.0
# A node that works on two frames at once is at most so much faster than one process.
PEAK_HEADROOM = 1.5
START_TRIES = 3
TRANSPORTS_VARIABLE = 'FASTDDS_BUILTIN_TRANSPORTS'
TRANSPORTS = ('default', 'large_data')


@dataclass(frozen=True)
class Effort:
    """
    How long to measure.

    :param rates: in Hz
    :param runs: at each rate
    :param seconds: of each run
    :param trials: of the search for the peak rate
    :param trial_s: of each trial
    """

    rates: Sequence[float]
    runs: int
    seconds: float
    trials: int
    trial_s: float

    @property
    def steps(self) -> int:
        """Return the number of steps of a line: the start, the runs and the trials."""
        return 1 + len(self.rates) * self.runs + self.trials


def _picture_size(text: str) -> Tuple[int, int]:
    found = re.fullmatch(r'([1-9]\d{1,3})x([1-9]\d{1,3})', text)
    if not found:
        raise ConfigError(f'--sizes: expected WIDTHxHEIGHT such as 640x480, got {text!r}')
    return int(found[1]), int(found[2])


def _effort(arguments: argparse.Namespace) -> Effort:
    rates, seconds = arguments.rates, arguments.seconds
    for rate in rates:
        if not 1.0 <= rate <= 1000.0:
            raise ConfigError(f'expected --rates from 1 to 1000, got {rate:g}')
    if seconds is not None and not 0.5 <= seconds <= 600.0:
        raise ConfigError(f'expected --seconds from 0.5 to 600, got {seconds:g}')
    if arguments.quick:
        return Effort(rates, QUICK_RUNS, seconds or QUICK_S, QUICK_TRIALS, QUICK_TRIAL_S)
    return Effort(rates, RUNS, seconds or RUN_S, PEAK_TRIALS, TRIAL_S)


def _isolate(log_folder: str) -> str:
    """
    Keep this process and its children apart from all others; return a namespace of their own.

    A domain limited to this machine would be simpler, but there Fast DDS's transports are chosen
    by ROS and those for large data cannot be had. So the domain is one that nobody here is in, and
    should somebody on the network be, no topic has the same name.
    """
    os.environ.update(ROS_DOMAIN_ID=str(free_domain()), ROS_LOG_DIR=log_folder,
                      ROS_AUTOMATIC_DISCOVERY_RANGE='SUBNET')
    for name in ('ROS_LOCALHOST_ONLY', 'ROS_STATIC_PEERS'):
        os.environ.pop(name, None)
    return f'/dds_benchmark_{secrets.token_hex(4)}'


def _set_transports(transports: str) -> None:
    from mtl_perception.ros.image_input import LARGE_DATA
    os.environ.pop(TRANSPORTS_VARIABLE, None)
    if transports == 'large_data':
        os.environ[TRANSPORTS_VARIABLE] = LARGE_DATA


def _measure_line(plan, folder: Path, effort: Effort,
                  step: Callable[[str], None]) -> Dict[str, Any]:
    """Return the figures of one size of pictures and one choice of transports."""
    from mtl_perception.ros.load_line import LoadLine, NotConnectedError
    for failed in range(START_TRIES):
        with LoadLine(plan, folder) as line:
            try:
                start_up = {**line.start_node(), 'failed_before': failed}
            except NotConnectedError as error:
                # Fast DDS's connections over TCP may hang before anything came through them.
                failure = error
                continue
            step(f'active after {start_up["active_s"]:.1f} s')
            return {'start_up': start_up, **_measure_rates(line, effort, step),
                    'conditions': line.conditions}
    raise failure


def _measure_rates(line, effort: Effort, step: Callable[[str], None]) -> Dict[str, Any]:
    from mtl_perception.ros.load_figures import KEPT_SHARE, search_peak, summarise
    runs: Dict[float, List[Any]] = {rate: [] for rate in effort.rates}
    fastest_ms = line.burst()
    alone = {rate: line.burst(rate) for rate in effort.rates}
    for number in range(1, effort.runs + 1):
        for rate in effort.rates:
            before, run = alone[rate], line.measure(rate, effort.seconds)
            alone[rate] = line.burst(rate)
            runs[rate].append(replace(run, in_process_ms=[*before, *alone[rate]]))
            step(f'{rate:g} Hz, run {number} of {effort.runs}: p50 {run.p50_ms:.1f} ms, '
                 f'{run.dropped_share:.1%} dropped')
    tried: List[Dict[str, float]] = []

    def is_held(rate: float) -> bool:
        share = line.try_rate(rate, effort.trial_s).dropped_share
        tried.append({'asked_hz': rate, 'dropped_share': share})
        step(f'peak rate, {rate:.0f} Hz: {share:.1%} dropped')
        return share < 1.0 - KEPT_SHARE
    peak_hz = search_peak(is_held, PEAK_HEADROOM * 1e3 / min(fastest_ms), effort.trials)
    return {'peak': {'peak_hz': peak_hz, 'tried': tried,
                     'back_to_back_p50_ms': statistics.median(fastest_ms)},
            'fixed_rates': [{'asked_hz': rate, **summarise(runs[rate])} for rate in runs]}


def _measure(arguments: argparse.Namespace) -> None:
    # Here, so that Ctrl-C is heard from the first moment on.
    from mtl_perception.checkpoint import load_checkpoint
    from mtl_perception.data.tour import household_tour
    from mtl_perception.ros.dds_report import conditions, document, print_report, rmw_name
    from mtl_perception.ros.load_line import LinePlan
    from tqdm import tqdm
    effort = _effort(arguments)
    if arguments.json:
        try:
            arguments.json.touch()  # now, not after minutes of measuring
        except OSError as error:
            raise ConfigError(f'{arguments.json}: cannot be written: {error.strerror}') from None
    threads = arguments.threads or len(os.sched_getaffinity(0))
    engine = EngineConfig(arguments.engine, arguments.device, threads,
                          precision=arguments.precision)
    load_checkpoint(arguments.checkpoint), household_tour()  # what is wrong is said at once
    is_fast_dds = rmw_name().startswith('rmw_fastrtps')
    transports = [name for name in arguments.transports if is_fast_dds or name == 'default']
    if not transports:
        raise ConfigError(f'--transports: expected default with {rmw_name()}, got large_data, '
                          'which only Fast DDS has')
    lines = [(size, name) for size in map(_picture_size, arguments.sizes)
             for name in transports]
    known, figures = conditions(effort, threads), []
    with tempfile.TemporaryDirectory(prefix='dds_benchmark_') as folder, \
            tqdm(total=len(lines) * effort.steps, unit='step', leave=False, disable=None) as bar:
        namespace = _isolate(folder)
        for (width, height), name in lines:
            place = {'picture': f'{width}x{height}', 'transports': name}

            def step(text: str) -> None:
                text = f'{place["picture"]}, {place["transports"].replace("_", " ")}: {text}'
                bar.set_description(text)
                bar.update()
                if bar.disable:  # no terminal
                    print(text, file=sys.stderr, flush=True)
            _set_transports(name)
            plan = LinePlan(namespace, arguments.checkpoint, engine, width, height)
            line = _measure_line(plan, Path(folder), effort, step)
            known = {**line.pop('conditions'), **known}
            figures.append((place, line))
    found = document(known, figures)
    print_report(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + '\n')


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m mtl_perception.ros.dds_benchmark', formatter_class=HelpFormatter,
        description=__doc__)
    parser.add_argument('checkpoint', nargs='?', default='household',
                        help='a name in weights/, or a path')
    parser.add_argument('--json', type=Path, help='write the figures there too')
    parser.add_argument('--quick', action='store_true',
                        help=f'{QUICK_RUNS} run of {QUICK_S:g} s at each rate and a coarse search '
                             f'for the peak, in place of {RUNS} runs of {RUN_S:g} s')
    parser.add_argument('--seconds', type=float,
                        help=f'of each run; None is {RUN_S:g}, with --quick {QUICK_S:g}')
    parser.add_argument('--rates', type=float, nargs='+', default=[10.0, 30.0], metavar='HZ',
                        help='pictures a second')
    parser.add_argument('--sizes', nargs='+', metavar='WIDTHxHEIGHT',
                        default=['640x480', '1280x720'], help='of the pictures')
    parser.add_argument('--transports', nargs='+', choices=TRANSPORTS, default=list(TRANSPORTS),
                        help='Fast DDS as it is, or with its transports for large data')
    add_engine_arguments(parser)
    parser.add_argument('--threads', type=int, default=0,
                        help='CPU threads of the engine, 0 for all')
    # SIGINT too: a shell script's background jobs begin with it ignored.
    for number in ENDING_SIGNALS:
        signal.signal(number, _interrupt)
    return run_command(_measure, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
