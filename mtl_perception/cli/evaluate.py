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
import json
from pathlib import Path
from typing import Optional, Sequence

from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.config import EngineConfig, ENGINES

TITLES = {'map50_95': 'mAP 50-95', 'map50': 'mAP 50', 'miou': 'mIoU', 'top1': 'top-1'}


def _table(metrics) -> str:
    lines = [f'{"figure":<12}{"value":>8}   95% interval over scenes']
    for name, title in TITLES.items():
        interval = metrics.intervals.get(name)
        span = f'{interval[0]:.3f} to {interval[1]:.3f}' if interval else '-'
        lines.append(f'{title:<12}{getattr(metrics, name):>8.3f}   {span}')
    lines.append(f'{"macro top-1":<12}{metrics.macro:>8.3f}')
    lines += ['', f'{"IoU of":<24}']
    lines += [f'  {name:<22}{value:>6.3f}' for name, value in metrics.iou.items()]
    return '\n'.join(lines)


def _evaluate(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from mtl_perception.checkpoint import load_checkpoint
    from mtl_perception.data.voc import VocDataset
    from mtl_perception.engine import build_engine
    from mtl_perception.evaluation import evaluate, metrics_to_json, write_metrics
    checkpoint = load_checkpoint(arguments.checkpoint)
    dataset = VocDataset(arguments.data, arguments.split, checkpoint.card.classes)
    engine = build_engine(checkpoint, EngineConfig(arguments.engine, arguments.device,
                                                   arguments.threads))
    for warning in engine.warnings:
        print(f'warning: {warning}')
    metrics = evaluate(engine.infer, dataset, checkpoint.card, arguments.resamples, tqdm)
    print(f'{checkpoint.card.name} on {arguments.data} {arguments.split}: {metrics.frames} frames '
          f'of {metrics.scenes} scenes, {engine.engine_name} on {engine.device_name}')
    print(_table(metrics))
    document = metrics_to_json(metrics)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + '\n')
    if arguments.write_card:
        write_metrics(checkpoint, arguments.split, document)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='evaluate', formatter_class=HelpFormatter,
        description='Score weights on a labelled split, through the engine that the node runs.')
    parser.add_argument('checkpoint', nargs='?', default='household',
                        help='a name in weights/, or a path')
    parser.add_argument('--data', type=Path, required=True,
                        help='root of a data set in VOC layout, as render_dataset writes')
    parser.add_argument('--split', default='test', help='list in ImageSets/Main')
    parser.add_argument('--engine', choices=ENGINES, default='auto', help='what runs the network')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--threads', type=int, default=0, help='CPU threads, 0 for all')
    parser.add_argument('--resamples', type=int, default=200,
                        help='bootstrap draws for the intervals, 0 for none')
    parser.add_argument('--json', type=Path, help='write the figures there too')
    parser.add_argument('--write-card', action='store_true',
                        help="write the figures into the weights' card, under the split's name")
    return run_command(_evaluate, parser, argv)
