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
"""
The whole line on one machine: a camera, the node and a listener, three processes over real DDS.

The camera plays rendered household frames, the node answers each, the listener shows and records
what arrives, and draws the pictures from its recording.
"""

import argparse
from pathlib import Path
import shutil
import signal
import sys
from typing import List, Optional, Sequence

from mtl_perception.card import Card
from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.errors import ConfigError, SourceError

PICTURES = 12
SHEET = 'contact_sheet.png'
BAG = 'bag'
SUMMARY = """
{monitor.answered} frames answered, {monitor.dropped} dropped; \
from stamp to last answer received: p50 {p50:.0f} ms, p95 {p95:.0f} ms
  {sheet} and {count} pictures, {first} to {last}
  {bag}: rosbag2 (mcap, {megabytes:.0f} MB) of camera (JPEG) and predictions

next: your own pictures   {bin}/predict PICTURES --out seen
      your own recording  {bin}/predict_bag BAG BAG_SEEN
      on a robot          ros2 launch mtl_perception perception.launch.py \
image:=/camera/image_raw"""


def _is_own(path: Path) -> bool:
    if path.name in (BAG, f'{BAG}.partial'):
        return all(item.name in (BAG, f'{BAG}.mcap', 'metadata.yaml') for item in path.rglob('*'))
    return path.is_file() and (path.name == SHEET or any(
        path.match(pattern) for pattern in ('overlay_[0-9][0-9].png', '*_node.log')))


def prepare_folder(folder: Path) -> None:
    """
    Make the folder, empty; what an earlier demo left there is replaced.

    :raises ConfigError: if it holds anything else, or cannot be made
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content = list(folder.iterdir())
        others = sorted(path.name for path in content if not _is_own(path))
        if others:
            raise ConfigError(f'{folder}: expected a folder of the demo or a new name, got one '
                              f'with {", ".join(others[:3])}; choose another with --out')
        for path in content:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise ConfigError(f'{folder}: cannot be written: {error.strerror}') from None


def _write_pictures(answers: list, out: Path, card: Card) -> List[Path]:
    """Draw some of the answered pictures, evenly over the time, and a sheet of them."""
    import cv2
    from mtl_perception.bag_pictures import draw_answer
    from mtl_perception.overlay import contact_sheet
    count = min(PICTURES, len(answers))
    pictures = [draw_answer(answers[round(i * (len(answers) - 1) / max(1, count - 1))], card)
                for i in range(count)]
    paths = [out / f'overlay_{number:02d}.png' for number in range(1, count + 1)]
    for path, picture in zip([*paths, out / SHEET], [*pictures, contact_sheet(pictures)]):
        cv2.imwrite(str(path), picture)
    return paths


def _check(arguments: argparse.Namespace) -> None:
    for name, low, high in (('seconds', 1.0, 600.0), ('rate', 0.1, 100.0)):
        value = getattr(arguments, name)
        if not low <= value <= high:
            raise ConfigError(f'expected --{name} from {low:g} to {high:g}, got {value:g}')


def _short(path: Path) -> Path:
    """Return a path as one would type it here."""
    return path.relative_to(Path.cwd()) if Path.cwd() in path.parents else path


def _demo(arguments: argparse.Namespace) -> None:
    # Here, so that Ctrl-C is heard from the first moment on.
    from mtl_perception.bag_pictures import read_answers
    from mtl_perception.checkpoint import load_checkpoint
    from mtl_perception.data.sources import open_frames
    from mtl_perception.data.tour import household_tour
    from mtl_perception.ros.demo_processes import DemoPlan, NODE, RECORDED_CAMERA, run_demo
    _check(arguments)
    card = load_checkpoint(arguments.checkpoint).card
    source = arguments.source or household_tour()
    open_frames(source)  # so that a wrong one is said before anything starts
    out, bag = arguments.out, arguments.out / BAG
    prepare_folder(out)
    monitor = run_demo(DemoPlan(
        arguments.checkpoint, card, source, arguments.rate, arguments.seconds, out, bag,
        arguments.lines))
    answers = read_answers(bag, RECORDED_CAMERA, NODE)
    if not answers:
        raise SourceError(f'{bag}: expected answered pictures, got none; try --seconds 30')
    paths = _write_pictures(answers, out, card)
    megabytes = sum(path.stat().st_size for path in bag.iterdir()) / 1e6
    print(SUMMARY.format(
        monitor=monitor, p50=monitor.latency_ms(50), p95=monitor.latency_ms(95),
        sheet=out / SHEET, count=len(paths), first=paths[0].name, last=paths[-1].name, bag=bag,
        megabytes=megabytes, bin=_short(Path(sys.executable).parent)))


class _Ended(KeyboardInterrupt):
    """Told to end. Of the plain one Python dies, though handled, where it came in an exec()."""


def _end_on(number: int) -> None:
    """Let a signal end the demo as Ctrl-C does."""
    def interrupt(*_):
        raise _Ended
    signal.signal(number, interrupt)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m mtl_perception.ros.demo', formatter_class=HelpFormatter,
        description=__doc__)
    parser.add_argument('--seconds', type=float, default=30.0,
                        help='end after that, or where the pictures end')
    parser.add_argument('--out', type=Path, default=Path('demo_out'),
                        help="folder; an earlier demo's is replaced")
    parser.add_argument('--checkpoint', default='household',
                        help='a name in weights/, or a path')
    parser.add_argument('--source', type=Path,
                        help='pictures, video or bag to play; the household tour if not given')
    parser.add_argument('--rate', type=float, default=10.0, help='pictures a second')
    parser.add_argument('--lines', action='store_true',
                        help='print a line every three seconds, as without a terminal')
    # SIGINT too: a shell script's background jobs begin with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        _end_on(number)
    return run_command(_demo, parser, argv)


if __name__ == '__main__':
    sys.exit(main())
