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
"""Show what the network sees in pictures, folders, videos or bags."""

import argparse
from collections import defaultdict
from itertools import islice
from pathlib import Path
from statistics import median
import sys
from typing import Dict, List, Optional, Sequence

from mtl_perception.card import Card
from mtl_perception.cli.command import (
    add_engine_arguments, HelpFormatter, run_command, whole_number)
from mtl_perception.config import EngineConfig, InferenceSettings
from mtl_perception.errors import SourceError
from mtl_perception.prediction import Prediction

SOME_SKIPPED = 1


class _Tally:
    """What was seen how often, for the table at the end."""

    def __init__(self, card: Card):
        self._card = card
        self._objects: Dict[str, List[float]] = defaultdict(list)
        self._classes: Dict[str, List[float]] = defaultdict(list)
        self.times_ms: List[float] = []

    def add(self, prediction: Prediction) -> None:
        detections, probabilities = prediction.detections, prediction.class_probabilities
        for class_id, score in zip(detections.class_ids.tolist(), detections.scores.tolist()):
            self._objects[self._card.classes.detection[class_id - 1]].append(score)
        top = int(probabilities.argmax())
        self._classes[self._card.classes.classification[top]].append(float(probabilities[top]))
        self.times_ms.append(1e3 * sum(prediction.stage_seconds.values()))

    def show(self) -> None:
        from rich.console import Console
        from rich.table import Table
        for title, scores in (('object', self._objects), ('image class', self._classes)):
            table = Table('seen as', 'times', 'mean score', min_width=46, title_justify='left',
                          title=f'{title}, {len(self.times_ms)} frames')
            for name, values in sorted(scores.items(), key=lambda item: -len(item[1])):
                table.add_row(name, str(len(values)), f'{sum(values) / len(values):.2f}')
            Console().print(table)


def _predict(arguments: argparse.Namespace) -> int:
    # Here, so that --help answers at once.
    from mtl_perception.checkpoint import load_checkpoint
    from mtl_perception.data.named_frames import NamedFrames
    from mtl_perception.engine import build_engine
    from mtl_perception.prediction_folder import PredictionFolder
    from tqdm import tqdm
    settings = InferenceSettings(score_threshold=arguments.score_threshold)
    config = EngineConfig(arguments.engine, arguments.device, arguments.threads,
                          precision=arguments.precision)
    frames = NamedFrames(arguments.input, arguments.topic)
    engine = build_engine(load_checkpoint(arguments.checkpoint), config)
    for warning in engine.warnings:
        print(f'warning: {warning}', file=sys.stderr)
    folder, tally = PredictionFolder(arguments.out, engine.card), _Tally(engine.card)
    limit = arguments.max_frames or None
    total = min(filter(None, (frames.total, limit)), default=None)
    for item in tqdm(islice(frames, limit), 'predicting', total=total, unit='frame', delay=0.5):
        prediction = engine.infer(item.frame, settings)
        folder.add(item, prediction)
        tally.add(prediction)
    if not tally.times_ms:
        raise SourceError(frames.problems[0])
    folder.finish()
    tally.show()
    print(f'{median(tally.times_ms):.1f} ms a frame (median) with {engine.engine_name} on '
          f'{engine.device_name}\noverlays, masks, detections.json (COCO), contact_sheet.jpg: '
          f'{folder.path}')
    for problem in frames.problems:
        print(f'warning: skipped: {problem}', file=sys.stderr)
    return SOME_SKIPPED if frames.problems else 0


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='predict', formatter_class=HelpFormatter, description=__doc__,
        epilog='Exit status 1 if some of the input was skipped.\n'
               'example: predict photos/ kitchen.mp4 --out seen')
    parser.add_argument('input', nargs='+',
                        help='a picture, a folder (with what is in its folders), a video, a '
                             'rosbag2 or /dev/videoN')
    parser.add_argument('--out', type=Path, default=Path('predictions'),
                        help='new or empty folder for overlays/ (of a video a video too), masks/ '
                             '(PNG of class ids), detections.json (COCO) and '
                             'contact_sheet.jpg')
    parser.add_argument('--checkpoint', default='household',
                        help='a name in weights/, or a path')
    parser.add_argument('--topic', default='', help="which of a bag's image topics")
    parser.add_argument('--max-frames', type=whole_number, default=0,
                        help='end after so many, 0 is never')
    parser.add_argument('--score-threshold', type=float,
                        default=InferenceSettings.score_threshold, help='of boxes, 0 to 1')
    add_engine_arguments(parser)
    parser.add_argument('--threads', type=int, default=0, help='CPU threads, 0 for all')
    return run_command(_predict, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
