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
"""Render labelled household pictures: boxes, masks and places in PASCAL VOC layout."""

import argparse
import os
from pathlib import Path

from mtl_perception.cli.command import HelpFormatter, run_command
from mtl_perception.errors import ConfigError
from mtl_perception.household.splits import SPLITS

_EPILOG = """\
splits (each has its own seed, so none shares a scene with another):
{splits}

A run that was interrupted continues when started again; one with nothing to do ends at once.
"""


def main(argv=None) -> int:
    """Run the command and return its exit status."""
    return run_command(_render, _parser(), argv)


def _parser():
    """Return the command's arguments."""
    splits = '\n'.join(
        f'  {name:14} seed {split.seed}, {split.frames} frames'
        + (', held-out variants' if split.held_out_variants else '')
        + f', camera {split.camera.elevation[0]:.0f} to {split.camera.elevation[1]:.0f} degrees'
        + ' above the scene' for name, split in SPLITS.items())
    parser = argparse.ArgumentParser(
        prog='render_dataset', description=__doc__, epilog=_EPILOG.format(splits=splits),
        formatter_class=HelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('datasets/household'),
                        help='folder of the data set')
    parser.add_argument('--split', choices=[name for name in SPLITS if name != 'tour'],
                        default='train', help='which scenes')
    parser.add_argument('--frames', type=int, default=None,
                        help='number of pictures; what the split says if not given')
    parser.add_argument('--width', type=int, default=512, help='of the pictures, pixels')
    parser.add_argument('--height', type=int, default=512, help='of the pictures, pixels')
    parser.add_argument('--quality', type=int, default=93, help='of the JPEG files')
    parser.add_argument('--workers', type=int, default=os.cpu_count(),
                        help='render processes')
    parser.add_argument('--tour', type=Path, metavar='VIDEO', default=None,
                        help='render a video of a camera moving round five scenes instead')
    parser.add_argument('--fps', type=float, default=12.0, help='of that video')
    return parser


def _render(arguments):
    """Render what was asked for."""
    split = 'tour' if arguments.tour else arguments.split
    frames = SPLITS[split].frames if arguments.frames is None else arguments.frames
    for name, value, low, high in (
            ('--frames', frames, 1, 999999), ('--width', arguments.width, 32, 2048),
            ('--height', arguments.height, 32, 2048), ('--quality', arguments.quality, 1, 100),
            ('--workers', arguments.workers, 1, 256), ('--fps', arguments.fps, 1, 120)):
        if not low <= value <= high:
            raise ConfigError(f'expected {name} from {low} to {high}, got {value}')
    try:
        from mtl_perception.household.dataset import RenderRequest
        request = RenderRequest(arguments.out, split, frames, arguments.width,
                                arguments.height, arguments.quality)
        if arguments.tour:
            _render_tour(request, arguments.tour, arguments.fps)
        else:
            _render_split(request, arguments.workers)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'expected the packages of the renderer, {error.name} is missing: run '
            f'`make setup-train`') from None


def _render_split(request, workers):
    """Render the split, draw its contact sheet and say how fast it went."""
    from mtl_perception.household.contact_sheet import draw_contact_sheet
    from mtl_perception.household.dataset import render_split

    rate = render_split(request, workers)
    sheet = draw_contact_sheet(request.out, request.split)
    speed = f'{rate:.1f} frames/s' if rate else 'everything was there'
    print(f'{request.frames} frames of {request.split} in {request.out} ({speed}); '
          f'look at {sheet}')


def _render_tour(request, video, fps):
    """Render the video of the moving camera."""
    from mtl_perception.household.render import HouseholdRenderer
    from mtl_perception.household.tour import render_tour

    renderer = HouseholdRenderer(request.cache, request.height, request.width)
    render_tour(renderer, video, request.frames, fps)
    renderer.close()
    print(f'{request.frames} frames in {video}')


if __name__ == '__main__':
    raise SystemExit(main())
