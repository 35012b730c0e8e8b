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
"""Train a network from a recipe."""

import argparse
import os
from pathlib import Path
import sys
from typing import Optional, Sequence

from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.recipe import load_recipe


def _train(arguments: argparse.Namespace) -> None:
    # Threads that wait should sleep: where another process wants a core, spinning at every
    # barrier made a step twenty times slower. Read when torch is loaded, hence here.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    import torch

    from mtl_perception.distributed import choose_device
    from mtl_perception.training import train
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = load_recipe(arguments.recipe, arguments.set)
    folder = train(recipe, arguments.data, arguments.output or Path('runs') / recipe.name,
                   arguments.workers, choose_device(arguments.device))
    if os.environ.get('RANK', '0') == '0':  # torchrun starts several of us
        print(f'{folder}: state, log, curves and report.md; next: export {folder}')


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='train', formatter_class=HelpFormatter,
        description='Train a network from a recipe. Stopped at any moment, even by kill -9, the '
                    'same command goes on\nfrom the last saved state. Under torchrun its '
                    'processes share every batch.')
    parser.add_argument('recipe', type=Path, help='YAML file, as in config/train/')
    parser.add_argument('--data', type=Path, required=True,
                        help="root that the paths of the recipe's sources start from")
    parser.add_argument('--set', action='append', default=[], metavar='FIELD=VALUE',
                        help='change a field of the recipe, such as seed=2; may be repeated')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--output', type=Path,
                        help="folder of the run; None is runs/ and the recipe's name")
    parser.add_argument('--threads', type=int, default=0, help='CPU threads of torch, 0 for all')
    parser.add_argument('--workers', type=int, default=1,
                        help='processes that read and augment; 0 does so in this one')
    return run_command(_train, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
