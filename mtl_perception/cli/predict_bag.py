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
"""Look at every picture of a rosbag2 and write a bag of what is in it."""

import argparse
from pathlib import Path
import sys
import time
from typing import Optional, Sequence

from mtl_perception.cli.command import add_engine_arguments, HelpFormatter, run_command
from mtl_perception.config import EngineConfig, InferenceSettings

INCOMPLETE = 1


def _say(report, output: Path, seconds: float) -> int:
    """Print what came out; return the exit status."""
    for note in report.notes:
        print(f'warning: {note}', file=sys.stderr)
    for loss in report.losses:
        print(f'lost: {loss}', file=sys.stderr)
    count = report.count
    if count.skipped:
        print(f'lost: {count.skipped} pictures skipped, the last because {count.problem}',
              file=sys.stderr)
    resumed = f' ({report.resumed} of them by the run before)' if report.resumed else ''
    print(f'{count.frames} frames{resumed}, {count.objects} objects in {seconds:.1f} s: {output}')
    for camera, name in report.cameras.items():
        print(f'  {camera} -> {name}/{{detections,segmentation,classification,'
              'classification_scores}')
    return 0 if report.is_whole else INCOMPLETE


def _predict_bag(arguments: argparse.Namespace) -> int:
    # Here, so that --help answers at once.
    from mtl_perception.bag_fleet import find_bags, fleet_status, predict_bags
    from mtl_perception.bag_run import BagOptions, predict_bag
    from mtl_perception.errors import ConfigError
    from rich.console import Console
    from rich.progress import (
        BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn,
        TimeRemainingColumn)
    from rich.table import Table
    options = BagOptions(
        arguments.checkpoint, tuple(arguments.topic), arguments.node_name,
        EngineConfig(arguments.engine, arguments.device, arguments.threads,
                     precision=arguments.precision),
        InferenceSettings(score_threshold=arguments.score_threshold,
                          max_detections=arguments.max_detections),
        arguments.class_id_format, arguments.predictions_only, arguments.workers)
    bar = Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                   TextColumn('{task.fields[rate]:.1f}/s'), TimeElapsedColumn(),
                   TextColumn('ETA'), TimeRemainingColumn())
    start = time.perf_counter()
    bags = find_bags(arguments.input)
    if arguments.cluster and not bags:
        raise ConfigError(f'--cluster: expected a folder of bags, got {arguments.input}')
    with bar:
        task = bar.add_task('predicting' if not bags else 'bags', total=None, rate=0.0)

        first = None

        def progress(done: int, total: int) -> None:
            nonlocal first  # what an earlier run has done is not this one's speed
            first = done if first is None else first
            bar.update(task, completed=done, total=total,
                       rate=(done - first) / (time.perf_counter() - start))
        try:
            if bags:
                outcomes = predict_bags(bags, arguments.input, arguments.output, options,
                                        arguments.cluster, progress)
            else:
                report = predict_bag(arguments.input, arguments.output, options, progress)
        except KeyboardInterrupt:
            done = arguments.output if bags else Path(f'{arguments.output}.partial')
            if done.exists():
                print(f'{done} holds what is done, the same command goes on from there',
                      file=sys.stderr)
            raise
    if not bags:
        return _say(report, arguments.output, time.perf_counter() - start)
    table = Table('bag', 'result', 'frames', 'objects')
    for outcome in outcomes:
        table.add_row(outcome.name, outcome.result, str(outcome.frames), str(outcome.objects))
        for problem in outcome.problems:
            print(f'{outcome.result}: {problem}', file=sys.stderr)
    Console().print(table)
    return fleet_status(outcomes)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='predict_bag', formatter_class=HelpFormatter, description=__doc__,
        epilog='Needs no ROS. The new bag is a compressed mcap that appears when it is whole; '
               'until then it\nis OUT.partial, from which the same command goes on if it was '
               'ended. What cannot be read of\na damaged bag is named, and the exit status is 1.\n'
               'example: predict_bag drive_17 drive_17_seen && ros2 bag play drive_17_seen\n'
               '         predict_bag last_night last_night_seen  (each bag in the folder)')
    parser.add_argument('input', type=Path, metavar='IN',
                        help='rosbag2: a folder, or one .mcap or .db3 file; or a folder of bags')
    parser.add_argument('output', type=Path, metavar='OUT',
                        help='folder of the new bag, or of the new bags')
    parser.add_argument('--checkpoint', default='household',
                        help='a name in weights/, or a path')
    parser.add_argument('--topic', action='append', default=[],
                        help='image topic to look at, may be given again; all if not given')
    parser.add_argument('--predictions-only', action='store_true',
                        help='leave what the bag holds out of the new one')
    parser.add_argument('--node-name', default='perception',
                        help='predictions go under this name; several cameras have it each '
                             'in its own namespace')
    add_engine_arguments(parser)
    parser.add_argument('--workers', type=int, default=0,
                        help='processes, 0 for as many as there are cores for')
    parser.add_argument('--threads', type=int, default=1,
                        help='CPU threads of each worker, 0 for all; scores are bit for bit those '
                             'of a node with as many')
    parser.add_argument('--cluster', default='', metavar='ADDRESS',
                        help='Dask scheduler for a folder of bags, such as tcp://scheduler:8786; '
                             'all machines must see IN and OUT under the same path')
    parser.add_argument('--score-threshold', type=float,
                        default=InferenceSettings.score_threshold, help='of boxes, 0 to 1')
    parser.add_argument('--max-detections', type=int, default=InferenceSettings.max_detections,
                        help='boxes of a frame, at most')
    parser.add_argument('--class-id-format', choices=('name', 'index'), default='name',
                        help='what class_id holds')
    return run_command(_predict_bag, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
