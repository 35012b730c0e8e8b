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
"""Time the training of a recipe: whole steps, their parts, and the data loader."""

import argparse
from dataclasses import replace
import json
import os
from pathlib import Path
import sys
from typing import Optional, Sequence

from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.errors import ConfigError
from mtl_perception.recipe import load_recipe, Source

ROOT = Path(__file__).resolve().parents[2]
RECIPE = Path('config/train/household.yaml')
PICTURES = Path('test/data/smoke')


def _table(summaries, title):
    from rich.table import Table
    table = Table('', title=title, title_justify='left')
    for summary in summaries:
        table.add_column(f'{summary["side"]} px', justify='right')

    def add(name, form, *path):
        cells = []
        for value in summaries:
            for key in path:
                value = value[key]
            cells.append(form.format(value))
        table.add_row(name, *cells)
    add('images/s of training', '{:.1f}', 'images_per_second')
    add('images/s of the loader alone', '{:.1f}', 'loader_images_per_second')
    add('step, ms', '{:.0f}', 'step_ms')
    for part in summaries[0]['shares']:
        add(f'  {part}', '{:.1%}', 'shares', part)
    add('waiting for data, ms', '{:.1f}', 'parts_ms', 'waiting for data')
    add('peak memory so far, MB', '{:.0f}', 'peak_mb')
    add('  of the largest loader process, MB', '{:.0f}', 'loader_peak_mb')
    return table


def _measure(arguments: argparse.Namespace) -> None:
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # as train does, before torch is loaded
    from rich.console import Console
    import torch
    from tqdm import tqdm

    from mtl_perception.data.datasets import open_source
    from mtl_perception.distributed import choose_device
    from mtl_perception.training import card_of
    from mtl_perception.training_speed import conditions, measure_side, WARM_UP_STEPS
    for name, least in (('steps', 1), ('workers', 0)):
        if getattr(arguments, name) < least:
            raise ConfigError(f'expected --{name} from {least}, got {getattr(arguments, name)}')
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe, data = load_recipe(arguments.recipe or ROOT / RECIPE), arguments.data
    if data is None:
        recipe = replace(recipe, sources=(Source('voc', '.', 'smoke'),))
        data = ROOT / PICTURES
    classes = card_of(recipe).classes
    datasets = [open_source(source, data, classes) for source in recipe.sources]
    device = choose_device(arguments.device)
    found = conditions(device)
    found.update(recipe=recipe.name, pictures=sum(map(len, datasets)), steps=arguments.steps,
                 batch_size=recipe.batch_size, workers=arguments.workers)
    sides = sorted(arguments.sides)  # memory grows with the side, so each peak is that side's
    batches = 2 * len(sides) * (WARM_UP_STEPS + arguments.steps)
    with tqdm(total=batches, unit='batch', leave=False) as bar:
        summaries = [measure_side(recipe, datasets, side, arguments.steps, arguments.workers,
                                  device, bar.update).summary() for side in sides]
    title = ', '.join(f'{name} {value}' for name, value in found.items()
                      if name in ('recipe', 'batch_size', 'workers', 'threads', 'steps'))
    Console().print(_table(summaries, title))
    print(f'{found["device"]}, {found["cpus"]} CPUs, load {found["load_before"]} before; '
          f'{found["pictures"]} pictures; medians of steps, shares of their whole time')
    if arguments.json:
        try:
            arguments.json.write_text(json.dumps({'conditions': found, 'sides': summaries},
                                                 indent=1) + '\n')
        except OSError as error:
            raise ConfigError(f'{arguments.json}: cannot be written: {error.strerror}') from None


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='training_speed', formatter_class=HelpFormatter, description=__doc__,
        epilog='The loader is no bottleneck where a step waits next to nothing for its batch.')
    parser.add_argument('recipe', nargs='?', type=Path,
                        help=f'YAML file, as in config/train/; None is {RECIPE}')
    parser.add_argument('--data', type=Path,
                        help="root that the paths of the recipe's sources start from; None learns "
                             f'from {PICTURES}, 40 pictures of this repository')
    parser.add_argument('--sides', type=int, nargs='+', default=[256, 384, 512],
                        metavar='PIXELS', help='of the square input')
    parser.add_argument('--steps', type=int, default=20, help='steps that are timed at each side')
    parser.add_argument('--workers', type=int, default=1,
                        help='processes that read and augment; 0 does so in this one')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--threads', type=int, default=0, help='CPU threads of torch, 0 for all')
    parser.add_argument('--json', type=Path, help='write the figures there too')
    return run_command(_measure, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
