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
"""Score weights on a labelled split."""

import argparse
from functools import partial
import json
from pathlib import Path
import shlex
import sys
from typing import Optional, Sequence

from mtl_perception.cli.command import (
    add_engine_arguments, HelpFormatter, run_command, whole_number)
from mtl_perception.config import EngineConfig
from mtl_perception.corruptions import SEVERITIES
from mtl_perception.errors import ConfigError


def _require_folder(path: Path) -> None:
    """Refuse a place that cannot be written before the work, not after it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'{path}: expected a folder or a new name, got: {error.strerror}'
                          ) from None


def _evaluate(arguments: argparse.Namespace) -> None:
    # Here, so that --help answers at once.
    from mtl_perception.checkpoint import load_checkpoint
    from mtl_perception.corruptions import CORRUPTIONS
    from mtl_perception.data.datasets import KeptLabels
    from mtl_perception.data.voc import VocDataset
    from mtl_perception.engine import build_engine
    from mtl_perception.evaluation import (
        corrupted, metrics_to_json, Robustness, robustness_to_json, score_frames, summarise,
        write_metrics)
    from mtl_perception.evaluation_report import (
        classes_table, figures_table, losses_table, Subject, write_report)
    from mtl_perception.recipe import TASKS
    from tqdm import tqdm
    checkpoint = load_checkpoint(arguments.checkpoint)
    card = checkpoint.card
    samples = KeptLabels(VocDataset(arguments.data, arguments.split, card.classes), TASKS,
                         arguments.frames)
    for folder in filter(None, (arguments.report, arguments.json and arguments.json.parent)):
        _require_folder(folder)
    config = EngineConfig(arguments.engine, arguments.device, arguments.threads,
                          precision=arguments.precision)
    engine = build_engine(checkpoint, config)
    for warning in engine.warnings:
        print(f'warning: {warning}', file=sys.stderr)
    frames = partial(tqdm, total=len(samples), unit='frame')
    scores = score_frames(engine.infer, frames(samples, 'clean'), card)
    metrics = summarise(scores, card, arguments.resamples, partial(tqdm, desc='intervals'))
    document = metrics_to_json(metrics)
    print(f'\n{card.name} on {arguments.data} {arguments.split}: {metrics.frames} frames of '
          f'{metrics.scenes} scenes, {engine.engine_name} on {engine.device_name} '
          f'({engine.precision})\n')
    print(figures_table(metrics), classes_table(metrics), sep='\n\n', flush=True)
    robustness = None
    if arguments.corruptions:
        robustness = Robustness(arguments.corruptions, metrics, {
            name: summarise(score_frames(
                engine.infer, frames(corrupted(samples, name, arguments.corruptions), name),
                card), card)
            for name in CORRUPTIONS})
        document['corruptions'] = robustness_to_json(robustness)
        print(f'\n{losses_table(robustness)}')
    if arguments.json:
        try:
            arguments.json.write_text(json.dumps(document, indent=1) + '\n')
        except OSError as error:
            raise ConfigError(f'{arguments.json}: cannot be written: {error.strerror}') from None
    if arguments.write_card:
        write_metrics(checkpoint, arguments.split, engine.precision, document)
    if arguments.report:
        subject = Subject(checkpoint, engine, arguments.data, arguments.split, arguments.command)
        path = write_report(arguments.report, subject, samples, scores, metrics, robustness)
        print(f'\nreport: {path}')


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='evaluate', formatter_class=HelpFormatter,
        description='Score weights on a labelled split, through the engine that the node runs.',
        epilog='example: evaluate household --data datasets/household --split val '
               '--corruptions --report seen')
    parser.add_argument('checkpoint', nargs='?', default='household',
                        help='a name in weights/, or a path')
    parser.add_argument('--data', type=Path, required=True,
                        help='root of a data set in VOC layout, as render_dataset writes')
    parser.add_argument('--split', default='test', help='list in ImageSets/Main')
    parser.add_argument('--frames', type=whole_number, default=0, metavar='N',
                        help='only the first N frames, 0 for all')
    parser.add_argument('--resamples', type=whole_number, default=200, metavar='N',
                        help='bootstrap draws for the intervals, 0 for none')
    parser.add_argument('--corruptions', type=int, choices=SEVERITIES, nargs='?', const=3,
                        metavar='SEVERITY',
                        help='score the same frames blurred, noisy, dark, compressed and pale '
                             'too, at a severity of 1 to 5 (3 if the number is left out)')
    add_engine_arguments(parser)
    parser.add_argument('--threads', type=whole_number, default=0, metavar='N',
                        help='CPU threads, 0 for all')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    parser.add_argument('--report', type=Path, metavar='FOLDER',
                        help='write a report with pictures there: confusion matrices, '
                             'precision-recall curves, best and worst frames')
    parser.add_argument('--write-card', action='store_true',
                        help="write the figures into the weights' card, under the split's name, "
                             'with @ and the precision if it is not float32')
    words = sys.argv[1:] if argv is None else argv
    parser.set_defaults(command=shlex.join(['evaluate', *words]))
    return run_command(_evaluate, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
