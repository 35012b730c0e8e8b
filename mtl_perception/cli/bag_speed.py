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
"""Measure predict_bag against the engine alone, on a bag of the household tour."""

import argparse
from pathlib import Path
import sys
import tempfile
from typing import Optional, Sequence

from mtl_perception.cli.command import HelpFormatter, run_command

BAR = 1.15


def _bag_speed(arguments: argparse.Namespace) -> int:
    # Here, so that --help answers at once.
    from mtl_perception.bag_run import BagOptions
    from mtl_perception.bag_speed import measure, write_tour_bag
    options = BagOptions(arguments.checkpoint, workers=arguments.workers)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        bag = write_tour_bag(Path(folder) / 'tour', arguments.frames)
        ratios = []
        for run in range(arguments.runs):
            speed = measure(bag, Path(folder) / f'seen_{run}', options)
            ratios.append(speed.ratio)
            print(f'{speed.frames} frames on {speed.cores} cores: predict_bag {speed.bag_s:.2f} s '
                  f'with {speed.workers} workers, engine alone {speed.engine_s:.2f} s, ratio '
                  f'{speed.ratio:.2f} (bar {BAR})', flush=True)
    return 0 if min(ratios) <= BAR else 1


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='bag_speed', formatter_class=HelpFormatter, description=__doc__,
        epilog=f'Exit status 1 when no run takes at most {BAR} times the engine alone.')
    parser.add_argument('--frames', type=int, default=1000, help='640x480 bgr8 pictures')
    parser.add_argument('--runs', type=int, default=1, help='measurements')
    parser.add_argument('--workers', type=int, default=0, help='of predict_bag, 0 for its default')
    parser.add_argument('--checkpoint', default='household', help='a name in weights/, or a path')
    parser.add_argument('--folder', type=Path, default=None,
                        help='where a bag of 1 GB finds room, the temporary folder if not given')
    return run_command(_bag_speed, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
