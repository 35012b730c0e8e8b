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
"""What was measured over DDS, as a document for machines and a table for people."""

import os
import statistics
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from mtl_perception.ros.camera import DEPTH
from mtl_perception.ros.load_figures import PROTOCOL
from rclpy.utilities import get_rmw_implementation_identifier
from rich import box
from rich.console import Console
from rich.table import Table

# Where the bars are held: what the launch file sets, at a camera's usual size and rate.
BAR_PLACE = {'picture': '640x480', 'transports': 'large_data', 'asked_hz': 30.0}
MIN_WIDTH = 110


def rmw_name() -> str:
    """Return the name of the middleware in use."""
    return get_rmw_implementation_identifier()


def conditions(effort: Any, threads: int) -> Dict[str, Any]:
    """
    Return what is known before anything starts.

    :param effort: how long is measured
    :param threads: of the engine
    """
    return {'load_before': round(os.getloadavg()[0], 2), 'threads': threads,
            'runs': effort.runs, 'seconds_of_a_run': effort.seconds,
            'rmw': rmw_name(), 'ros_distro': os.environ.get('ROS_DISTRO', 'unknown'),
            'camera_depth': DEPTH, 'transport': 'raw', 'protocol': PROTOCOL}


def _bars(fixed: Sequence[Mapping[str, Any]], start_up: Mapping[str, Any]) -> list:
    """Return name, value, limit and verdict of each bar that could be measured."""
    values = [('start-up, s', start_up['active_s'], 3.0),
              ('memory after 100 frames, MB', start_up['resident_mb'], 350.0)]
    place = _at_bar_place(fixed)
    if place:
        values += [('node overhead', place['node_overhead'], 0.35),
                   ('dropped at 30 Hz', place['dropped_share'], 0.01),
                   ('p99 at 30 Hz, ms', place['latency_ms']['p99'], 150.0)]
    return [{'name': name, 'value': value, 'limit': limit,
             'passed': value is not None and value < limit} for name, value, limit in values]


def _at_bar_place(fixed: Sequence[Mapping[str, Any]]) -> Optional[Mapping[str, Any]]:
    return next((row for row in fixed if BAR_PLACE.items() <= row.items()), None)


def document(known: Mapping[str, Any],
             figures: Sequence[Tuple[Mapping[str, str], Mapping[str, Any]]]) -> Dict[str, Any]:
    """
    Return all figures as JSON takes them.

    :param known: the conditions
    :param figures: of each line: its picture size and transports; its ``start_up``,
        ``fixed_rates`` and ``peak``
    """
    starts = [{**place, **line['start_up']} for place, line in figures]
    fixed = [{**place, **row} for place, line in figures for row in line['fixed_rates']]
    start_up = {name: statistics.median(start[name] for start in starts)
                for name in ('active_s', 'first_answer_s')}
    start_up.update(resident_mb=max(start['resident_mb'] for start in starts),
                    torch_loaded=any(start['torch_loaded'] for start in starts),
                    failed=sum(start['failed_before'] for start in starts), starts=starts)
    bar_row = _at_bar_place(fixed)
    return {'conditions': dict(known),
            'node_overhead': bar_row['node_overhead'] if bar_row else None,
            'start_up': start_up, 'fixed_rates': fixed,
            'peak': [{**place, **line['peak']} for place, line in figures],
            'bars': _bars(fixed, start_up)}


def _number(value: Optional[float], form: str) -> str:
    return '-' if value is None else form.format(value)


def _failed_starts(count: int) -> str:
    return f'; {count} times the processes did not find one another' if count else ''


def print_report(found: Mapping[str, Any]) -> None:
    """Print the table, the conditions and the bars."""
    console = Console()
    console.width = max(console.width, MIN_WIDTH)
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), title_justify='left', title=(
        'camera -> node -> subscriber over DDS, raw pictures; ms from stamp to last answer'))
    for column in ('pictures', 'transports'):
        table.add_column(column, no_wrap=True)
    for column in ('Hz', 'held', 'dropped', 'p50', 'p95', 'p99', 'in process', 'overhead',
                   'CPU %', 'MB', 'peak Hz'):
        table.add_column(column, justify='right', no_wrap=True)
    peaks = {(peak['picture'], peak['transports']): peak['peak_hz'] for peak in found['peak']}
    for row in found['fixed_rates']:
        place = row['picture'], row['transports']
        table.add_row(
            row['picture'], row['transports'].replace('_', ' '), f'{row["asked_hz"]:g}',
            f'{row["held_hz"]:.1f}', f'{row["dropped_share"]:.1%}',
            *(_number(value, '{:.1f}') for value in row['latency_ms'].values()),
            _number(row['in_process_p50_ms'], '{:.1f}'), _number(row['node_overhead'], '{:+.0%}'),
            f'{row["node_cpu_percent"]:.0f}', f'{row["node_resident_mb"]:.0f}',
            f'{peaks.pop(place):.1f}' if place in peaks else '')
    console.print(table)
    known, start_up = found['conditions'], found['start_up']
    for line in (
            f'start-up, median of {len(start_up["starts"])}: active after '
            f'{start_up["active_s"]:.2f} s, first answer after {start_up["first_answer_s"]:.2f} '
            f's, {start_up["resident_mb"]:.0f} MB after 100 frames, torch '
            f'{"loaded" if start_up["torch_loaded"] else "not loaded"}'
            f'{_failed_starts(start_up["failed"])}',
            f'{known["checkpoint"]}, {known["engine"]} on {known["device"]} '
            f'({known["provider"]}), {known["threads"]} '
            f'threads; {known["cpu"]}, {known["cpus"]} CPUs, load {known["load_before"]} before; '
            f'{known["rmw"]}, ROS {known["ros_distro"]}, {known["reliability"]}',
            f'{known["runs"]} runs of {known["seconds_of_a_run"]:g} s; {known["protocol"]}',
            *(f'[{"green" if bar["passed"] else "red"}]{"pass" if bar["passed"] else "FAIL"}[/] '
              f'{bar["name"]}: {_number(bar["value"], "{:.2f}")}, under {bar["limit"]:g} wanted'
              for bar in found['bars'])):
        console.print(line, soft_wrap=True, highlight=False)
