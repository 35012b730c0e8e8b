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
"""Every sample is read once before a training starts, so that it does not end hours later."""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
import multiprocessing
import signal
from typing import Callable, Iterable, Iterator, Sequence, Tuple, Union

import cv2
from mtl_perception.card import ClassNames
from mtl_perception.data.sample import Sample
from mtl_perception.errors import DatasetError
from mtl_perception.recipe import TASKS
from mtl_perception.worker_process import end_with_parent
import numpy as np

_CHUNK = 16  # samples that a process takes at once
_NAMED = 8   # names that an error lists


@dataclass(frozen=True)
class Survey:
    """
    What a data set holds.

    :param frames: pictures that could be read
    :param labelled: of these, by task
    :param objects: of each detection class, without the difficult ones
    :param pixels: of each mask class, background first
    :param pictures: of each image class
    :param bad: index and reason of each sample that could not be read
    """

    frames: int
    labelled: Tuple[int, int, int]
    objects: Tuple[int, ...]
    pixels: Tuple[int, ...]
    pictures: Tuple[int, ...]
    bad: Tuple[Tuple[int, str], ...] = ()

    @property
    def bad_indices(self) -> Tuple[int, ...]:
        """Return the indices of the samples that could not be read."""
        return tuple(index for index, _ in self.bad)

    @property
    def readable(self) -> 'Survey':
        """Return the survey of what is left without them."""
        return replace(self, bad=())


def _tally(sample: Sample, classes: ClassNames) -> np.ndarray:
    """Return a survey's figures for one sample, one after the other, int64."""
    objects = (np.zeros(0, np.int64) if sample.boxes is None
               else sample.class_ids[~sample.difficult] - 1)
    mask = np.zeros(0, np.uint8) if sample.mask is None else sample.mask.ravel()
    pictures = [] if sample.image_class is None else [sample.image_class]
    # 255, unlabelled, is counted and cut off.
    pixels = np.bincount(mask, minlength=256)[:len(classes.segmentation)]
    return np.concatenate([
        [1, sample.boxes is not None, sample.mask is not None, sample.image_class is not None],
        np.bincount(objects, minlength=len(classes.detection)), pixels,
        np.bincount(np.array(pictures, np.int64), minlength=len(classes.classification))])


def _examine(dataset: Sequence[Sample], classes: ClassNames, index: int
             ) -> Union[np.ndarray, str]:
    """Return a sample's figures, or why it could not be read."""
    try:
        return _tally(dataset[index], classes)
    except DatasetError as error:
        return str(error)


_examine_own = None  # what a worker process examines samples with


def _prepare_worker(dataset: Sequence[Sample], classes: ClassNames):
    global _examine_own
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends the pool
    cv2.setNumThreads(1)
    _examine_own = partial(_examine, dataset, classes)


def _examine_in_worker(index: int) -> Union[np.ndarray, str]:
    return _examine_own(index)


def _examine_all(dataset: Sequence[Sample], classes: ClassNames, workers: int
                 ) -> Iterator[Union[np.ndarray, str]]:
    """Yield what is found in each sample, in order."""
    if workers < 1:
        yield from map(partial(_examine, dataset, classes), range(len(dataset)))
        return
    # The data set goes to each process once, not with every chunk.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _prepare_worker,
                               (dataset, classes))
    try:
        yield from pool.map(_examine_in_worker, range(len(dataset)), chunksize=_CHUNK)
    except BrokenProcessPool:
        raise DatasetError('expected the processes that read the data set to live, one died '
                           '(memory?): run again with fewer workers') from None
    finally:
        pool.shutdown(cancel_futures=True)


def survey(dataset: Sequence[Sample], classes: ClassNames, workers: int = 0,
           progress: Callable[[Iterable], Iterable] = iter) -> Survey:
    """
    Read every sample once and return what the data set holds.

    :param dataset: of samples; with workers it must be picklable
    :param classes: names of the three heads
    :param workers: processes that read; 0 reads in this one
    :param progress: wraps the indices, for a progress bar
    :raises DatasetError: if a worker process dies
    """
    sizes = len(classes.detection), len(classes.segmentation), len(classes.classification)
    total = np.zeros(1 + len(TASKS) + sum(sizes), np.int64)
    bad = []
    with closing(_examine_all(dataset, classes, workers)) as results:
        for index, found in zip(progress(range(len(dataset))), results):
            if isinstance(found, str):
                bad.append((index, found))
            else:
                total += found
    frames, labelled, *counts = np.split(total, np.cumsum([1, len(TASKS), *sizes[:2]]))
    objects, pixels, pictures = (tuple(count.tolist()) for count in counts)
    return Survey(int(frames[0]), tuple(labelled.tolist()), objects, pixels, pictures, tuple(bad))


def _listed(names: Sequence[str]) -> str:
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return ', '.join(names[:_NAMED]) + more


def require_complete(surveys: Sequence[Survey], classes: ClassNames, tasks: Sequence[str],
                     name: str):
    """
    Hold data sets to samples that can be read and, all together, an example of every class.

    :param surveys: of the data sets; :attr:`Survey.readable` of one whose bad samples are left out
    :param classes: names of the three heads
    :param tasks: that are learnt; the others may lack classes, as the background may
    :param name: of the whole, for the error
    :raises DatasetError: if a sample is bad or a class has no example
    """
    reasons = [reason for one in surveys for _, reason in one.bad]
    if reasons:
        frames = sum(one.frames for one in surveys) + len(reasons)
        raise DatasetError(f'{name}: expected {frames} readable samples, got {len(reasons)} bad '
                           f'ones: mend them, or leave them out with skip_bad: true in the '
                           f'recipe; the first: {reasons[0]}')
    examples = {
        'detection': (classes.detection, [one.objects for one in surveys]),
        'segmentation': (classes.segmentation[1:], [one.pixels[1:] for one in surveys]),
        'classification': (classes.classification, [one.pictures for one in surveys])}
    lacking = []
    for task in tasks:
        names, counts = examples[task]
        empty = [name for name, count in zip(names, np.sum(counts, axis=0)) if count == 0]
        if empty:
            lacking.append(f'{task} {_listed(empty)}')
    if lacking:
        raise DatasetError(f'{name}: expected an example of every class that is learnt, got none '
                           f'of {"; ".join(lacking)}: add such pictures, or take the names off '
                           'the classes')


class _Picked:
    """
    Some samples of a data set.

    :param dataset: of samples
    :param indices: of those that are there, in order
    """

    def __init__(self, dataset: Sequence[Sample], indices: Sequence[int]):
        self._dataset = dataset
        self._indices = tuple(indices)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        """Return one sample."""
        return self._dataset[self._indices[index]]


def without(dataset: Sequence[Sample], indices: Iterable[int]) -> Sequence[Sample]:
    """Return ``dataset`` less the samples at ``indices``."""
    left_out = set(indices)
    return _Picked(dataset, [index for index in range(len(dataset)) if index not in left_out])
