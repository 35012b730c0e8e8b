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
from pathlib import Path
from typing import Optional, Sequence

from mtl_perception.cli.command import HelpFormatter, run_command


def _export(arguments: argparse.Namespace) -> None:
    from mtl_perception.export import export_weights
    from mtl_perception.run_folder import STATE
    from mtl_perception.training import export_run
    source = Path(arguments.source)
    verb = export_run if (source / STATE).is_file() else export_weights
    checkpoint = verb(arguments.source, arguments.output or Path('weights') / source.name)
    size = sum(digest.bytes for digest in checkpoint.card.files.values())
    print(f'{checkpoint.folder}: {size / 1e6:.1f} MB; ONNX and torch agree')


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='export', formatter_class=HelpFormatter,
        description='Write card.json, model.safetensors and model.onnx, once the ONNX graph is '
                    'shown to compute\nwhat torch computes.')
    parser.add_argument('source', help='folder of a training run, or name or path of weights')
    parser.add_argument('--output', type=Path,
                        help="folder to write; None is weights/ and the source's name")
    return run_command(_export, parser, argv)
