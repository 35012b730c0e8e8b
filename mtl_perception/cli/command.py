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
"""How every command ends: a status, and one line where the input was bad."""

import argparse
import sys
from typing import Callable, Optional, Sequence

from mtl_perception.config import ENGINES, PRECISIONS
from mtl_perception.errors import PerceptionError

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter,
                    argparse.RawDescriptionHelpFormatter):
    """Show defaults, keep the line breaks of descriptions and examples."""


def whole_number(text: str) -> int:
    """Return a number from 0 that is written in decimal digits."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'expected a number from 0, got {text!r}')
    return int(text)


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Let the user say what runs the network, where, and with which numbers."""
    parser.add_argument('--engine', choices=ENGINES, default='auto', help='what runs the network')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--precision', choices=PRECISIONS, default='auto',
                        help='of its arithmetic; auto is the fastest this machine is made for')


def run_command(function: Callable[[argparse.Namespace], Optional[int]],
                parser: argparse.ArgumentParser,
                argv: Optional[Sequence[str]] = None) -> int:
    """
    Parse ``argv``, call ``function`` with the result and return the exit status.

    :return: what ``function`` returns (None is 0), 2 on bad input, 130 on Ctrl-C
    """
    arguments = parser.parse_args(argv)
    try:
        return function(arguments) or 0
    except PerceptionError as error:
        print(f'error: {error}', file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return INTERRUPTED
