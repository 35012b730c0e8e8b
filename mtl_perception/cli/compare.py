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
"""Show where two sets of weights disagree, as a page for a browser."""

import argparse
from dataclasses import replace
from pathlib import Path
import shlex
import sys
from typing import List, Optional, Sequence

from mtl_perception.cli.command import (
    add_engine_arguments, HelpFormatter, run_command, whole_number)
from mtl_perception.config import EngineConfig, InferenceSettings
from mtl_perception.errors import ConfigError, SourceError

RECORDED = 'recorded'
SOME_SKIPPED = 1


def _side_names(checkpoints: Sequence) -> List[str]:
    """Return the names of the weights' folders, with as much of the paths as tells them apart."""
    parts = [checkpoint.folder.resolve().parts if checkpoint else () for checkpoint in checkpoints]
    length = next((length for length in range(1, max(map(len, parts)))
                   if parts[0][-length:] != parts[1][-length:]), 1)
    return ['/'.join(part[-length:]) for part in parts]


def _class_notes(classes: Sequence) -> List[str]:
    from mtl_perception.comparison.classes import only_known_to_one
    notes = []
    for letter, alone in zip('AB', only_known_to_one(*classes)):
        if alone:
            listed = ', '.join(alone[:10]) + (f' and {len(alone) - 10} more'
                                              if len(alone) > 10 else '')
            notes.append(f'Only {letter} knows {listed}. Classes are matched by name; what one '
                         'side cannot say is shown and counted, but is no disagreement.')
    return notes


def _compare(arguments: argparse.Namespace) -> int:
    # Here, so that --help answers at once.
    from itertools import islice
    from mtl_perception.checkpoint import load_checkpoint
    from mtl_perception.comparison.classes import shared_classes, Translation
    from mtl_perception.comparison.frames import (
        choose_camera, is_bag, is_dataset, open_bag_frames, open_dataset_frames,
        open_plain_frames)
    from mtl_perception.comparison.page import new_folder, Occasion, PAGE, write_page
    from mtl_perception.comparison.recording import find_recording
    from mtl_perception.comparison.run import run, Side
    from mtl_perception.comparison.summary import sentences, Summary
    from mtl_perception.comparison.truth import score_sides
    from mtl_perception.comparison.worst import Worst
    from mtl_perception.engine import build_engine
    from tqdm import tqdm
    wanted, path = (arguments.first, arguments.second), arguments.on
    settings = InferenceSettings(score_threshold=arguments.score_threshold)
    config = EngineConfig(arguments.engine, arguments.device, arguments.threads,
                          precision=arguments.precision)
    if not path.exists():
        raise SourceError(f'expected a bag, pictures, a video or a data set, got {str(path)!r}, '
                          'which does not exist')
    if wanted.count(RECORDED) == 2 or (RECORDED in wanted and not is_bag(path)):
        raise ConfigError(f'expected weights, and on a bag one {RECORDED!r} at most, got '
                          f'{" and ".join(wanted)} on {path}')
    with new_folder(arguments.out) as folder:
        checkpoints = [None if name == RECORDED else load_checkpoint(name) for name in wanted]
        cards = [checkpoint.card if checkpoint else None for checkpoint in checkpoints]
        classes = [card.classes if card else None for card in cards]
        names, notes, recording = _side_names(checkpoints), [], None
        if is_bag(path):
            camera, node = choose_camera(path, arguments.topic, arguments.node_name)
        if RECORDED in wanted:
            side = wanted.index(RECORDED)
            recording = find_recording(path, node, classes[1 - side], 'AB'[1 - side])
            classes[side] = recording.classes
            names[side] = f'recorded by {node}'
            notes += recording.notes
        shared = shared_classes(*classes)
        card = replace(cards[0] or cards[1], classes=shared.names, files={})
        notes += _class_notes(classes)
        if is_bag(path):
            frames = open_bag_frames(
                path, camera, recording,
                replace(card, classes=recording.classes) if recording else None)
        elif is_dataset(path):
            frames = open_dataset_frames(path, arguments.split, arguments.images, card)
        else:
            frames = open_plain_frames(path)
        sides = [Side(name, Translation(own, shared.names), checkpoint,
                      build_engine(checkpoint, config) if checkpoint else None)
                 for name, own, checkpoint in zip(names, classes, checkpoints)]
        for warning in dict.fromkeys(warning for side in sides if side.engine
                                     for warning in side.engine.warnings):
            print(f'warning: {warning}', file=sys.stderr)
        limit = arguments.max_frames or None
        total = min(filter(None, (frames.total, limit)), default=None)
        with tqdm(desc='comparing', total=total, unit='frame') as bar:
            comparison = run(islice(frames.shots, limit), sides, card, shared,
                             Worst(arguments.worst, round(arguments.apart * 1e9)),
                             settings.score_threshold, bar.update)
        if not comparison.rows:
            raise SourceError(frames.problems[0] if frames.problems else
                              f'{path}: expected frames to compare on, got none')
        truth = None
        if comparison.labelled[0]:
            truth = score_sides(comparison.labelled, card, arguments.resamples,
                                lambda draws: tqdm(draws, 'intervals'))
        if frames.problems:
            notes.append(f'Left out {len(frames.problems):,}, the last because of this: '
                         f'{frames.problems[-1]}')
        write_page(folder, comparison, sides,
                   Occasion(frames.title, arguments.command, notes, settings.score_threshold,
                            arguments.apart), truth)
    for sentence in sentences(Summary(comparison), truth):
        print(sentence)
    print(f'page: {arguments.out / PAGE}')
    for problem in frames.problems[:5]:
        print(f'warning: skipped: {problem}', file=sys.stderr)
    return SOME_SKIPPED if frames.problems else 0


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'expected a number from 1, got {text!r}')
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f'expected seconds from 0, got {text!r}')
    return value


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='compare', formatter_class=HelpFormatter, description=__doc__,
        epilog='Exit status 1 if some of the frames could not be read.\n'
               'examples:\n'
               '  compare household weights/mine --on drive_17 --out page\n'
               '  compare recorded weights/mine --on drive_17 --out page\n'
               '  compare household weights/mine --on datasets/household --split val --out page')
    parser.add_argument('first', metavar='A',
                        help=f'weights: a name in weights/, or a path; or {RECORDED!r}, what a '
                             'node left in the bag')
    parser.add_argument('second', metavar='B', help='likewise')
    parser.add_argument('--on', type=Path, required=True, metavar='SOURCE',
                        help='a rosbag2, a folder of pictures, a video, a data set in VOC layout '
                             'or a COCO JSON')
    parser.add_argument('--out', type=Path, default=Path('comparison'),
                        help='new or empty folder for index.html and what it shows')
    parser.add_argument('--topic', default='', help="which of a bag's image topics")
    parser.add_argument('--node-name', default='perception',
                        help=f'whose predictions are {RECORDED!r}; with a leading / the full name')
    parser.add_argument('--split', default='test', help='list in ImageSets/Main of a data set')
    parser.add_argument('--images', type=Path, metavar='FOLDER',
                        help="of a COCO JSON's pictures; its own folder if not given")
    parser.add_argument('--max-frames', type=whole_number, default=0, metavar='N',
                        help='end after so many, 0 is never')
    parser.add_argument('--worst', type=_positive, default=24, metavar='N',
                        help='show the pictures of so many frames')
    parser.add_argument('--apart', type=_seconds, default=1.0, metavar='SECONDS',
                        help='of frames in one such stretch of time show the worst only')
    parser.add_argument('--score-threshold', type=float,
                        default=InferenceSettings.score_threshold,
                        help='of boxes that are compared, 0 to 1')
    parser.add_argument('--resamples', type=_positive, default=200, metavar='N',
                        help='bootstrap draws for the intervals, where there are labels')
    add_engine_arguments(parser)
    parser.add_argument('--threads', type=whole_number, default=0, help='CPU threads, 0 for all')
    words = sys.argv[1:] if argv is None else argv
    parser.set_defaults(command=shlex.join(['compare', *words]))
    return run_command(_compare, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
