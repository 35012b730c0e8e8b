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
"""Turn a training run, or weights, into a weights folder that the node loads."""

import argparse
from functools import partial
from pathlib import Path
from typing import Optional, Sequence

from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.errors import ConfigError


def _export(arguments: argparse.Namespace) -> None:
    from mtl_perception.data.voc import read_split
    from mtl_perception.export import export_weights
    from mtl_perception.quantisation import add_int8, SPLIT
    from mtl_perception.run_folder import STATE
    from mtl_perception.training import export_run
    from tqdm import tqdm
    if arguments.frames < 1:
        raise ConfigError(f'expected --frames from 1, got {arguments.frames}')
    if arguments.calibrate:
        read_split(arguments.calibrate, SPLIT)  # before the work, not after it
    source = Path(arguments.source)
    verb = export_run if (source / STATE).is_file() else export_weights
    checkpoint = verb(arguments.source, arguments.output or Path('weights') / source.name)
    if arguments.calibrate:
        checkpoint = add_int8(checkpoint, arguments.calibrate, arguments.frames,
                              partial(tqdm, desc='calibrating', unit='frame'))
    size = sum(digest.bytes for digest in checkpoint.card.files.values())
    print(f'{checkpoint.folder}: {size / 1e6:.1f} MB; ONNX and torch agree')


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='export', formatter_class=HelpFormatter,
        description='Write card.json, model.safetensors and model.onnx, once the ONNX graph is '
                    'shown to compute\nwhat torch computes. A model.int8.onnx that the weights '
                    'have is kept.')
    parser.add_argument('source', help='folder of a training run, or name or path of weights')
    parser.add_argument('--output', type=Path,
                        help="folder to write; None is weights/ and the source's name")
    parser.add_argument('--calibrate', type=Path, metavar='DATA',
                        help='write model.int8.onnx too, calibrated on frames of the training '
                             'split of this data set in VOC layout')
    parser.add_argument('--frames', type=int, default=100, metavar='N',
                        help='how many frames calibrate')
    return run_command(_export, parser, argv)
