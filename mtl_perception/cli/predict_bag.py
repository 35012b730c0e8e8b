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
"""Write the predictions for every picture of a rosbag2 into a copy of it."""

import argparse
from pathlib import Path
import sys
import time
from typing import Optional, Sequence

from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.config import EngineConfig, ENGINES, InferenceSettings


def _predict_bag(arguments: argparse.Namespace) -> None:
    # Here, so that --help answers at once.
    from mtl_perception.bag_prediction import find_cameras, output_names, predict_bag
    from mtl_perception.bags import bag_message_builder, new_bag, open_bag
    from mtl_perception.checkpoint import load_checkpoint
    from mtl_perception.engine import build_engine
    from rich.progress import (
        BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn,
        TimeRemainingColumn)
    settings = InferenceSettings(score_threshold=arguments.score_threshold,
                                 max_detections=arguments.max_detections)
    config = EngineConfig(arguments.engine, arguments.device, arguments.threads)
    bar = Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                   TextColumn('{task.fields[rate]:.1f} frames/s'), TimeElapsedColumn(),
                   TextColumn('ETA'), TimeRemainingColumn())
    with open_bag(arguments.input) as reader:
        cameras = find_cameras(reader, arguments.topic)
        names = output_names(cameras, arguments.node_name)
        with new_bag(arguments.output) as writer:
            engine = build_engine(load_checkpoint(arguments.checkpoint), config)
            for warning in engine.warnings:
                print(f'warning: {warning}', file=sys.stderr)
            total = sum(c.msgcount for c in reader.connections if c.topic in cameras)
            start = time.perf_counter()
            with bar:
                task = bar.add_task('predicting', total=total, rate=0.0)
                count = predict_bag(
                    reader, writer, names, engine,
                    bag_message_builder(engine.card, arguments.class_id_format), settings,
                    lambda count: bar.update(
                        task, advance=1, rate=count.frames / (time.perf_counter() - start)))
    for topic in count.left_out:
        print(f'warning: {topic} left out: the bag has no definition of its type',
              file=sys.stderr)
    if count.skipped:
        print(f'warning: {count.skipped} pictures skipped, the last because {count.problem}',
              file=sys.stderr)
    print(f'{count.frames} frames, {count.objects} objects in '
          f'{time.perf_counter() - start:.1f} s: {arguments.output}')
    for camera, name in names.items():
        print(f'  {camera} -> {name}/{{detections,segmentation,classification,'
              'classification_scores}')


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='predict_bag', formatter_class=HelpFormatter, description=__doc__,
        epilog='Needs no ROS. The copy is a compressed mcap; it appears when it is whole, until '
               'then it is OUT.partial.\n'
               'example: predict_bag drive_17 drive_17_seen && ros2 bag play drive_17_seen')
    parser.add_argument('input', type=Path, metavar='IN',
                        help='rosbag2: a folder, or one .mcap or .db3 file')
    parser.add_argument('output', type=Path, metavar='OUT', help='folder of the new bag')
    parser.add_argument('--checkpoint', default='household',
                        help='a name in weights/, or a path')
    parser.add_argument('--topic', action='append', default=[],
                        help='image topic to look at, may be given again; all if not given')
    parser.add_argument('--node-name', default='perception',
                        help='predictions go under this name; several cameras have it each '
                             'in its own namespace')
    parser.add_argument('--engine', choices=ENGINES, default='auto', help='what runs the network')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--threads', type=int, default=0, help='CPU threads, 0 for all')
    parser.add_argument('--score-threshold', type=float,
                        default=InferenceSettings.score_threshold, help='of boxes, 0 to 1')
    parser.add_argument('--max-detections', type=int, default=InferenceSettings.max_detections,
                        help='boxes of a frame, at most')
    parser.add_argument('--class-id-format', choices=('name', 'index'), default='name',
                        help='what class_id holds')
    return run_command(_predict_bag, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
