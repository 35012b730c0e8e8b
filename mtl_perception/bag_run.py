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
"""One bag from end to end: look at it, plan, do its parts, put them together."""

from dataclasses import asdict, dataclass, field
import hashlib
import os
from pathlib import Path
import shutil
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

from mtl_perception.bag_prediction import (
    answer_topics, BagCount, BagJob, check_names, is_cdr, original_topics)
from mtl_perception.bag_records import Topic
from mtl_perception.bag_recovery import is_packed, recover, RECOVERED, storage_files
from mtl_perception.bag_staging import digest, open_staging, Staging
from mtl_perception.bag_survey import find_cameras, Survey, survey
from mtl_perception.bag_workers import predict_parts, prepare_processes
from mtl_perception.bags import DamagedBagError, open_bag
from mtl_perception.checkpoint import CARD, Checkpoint, load_checkpoint
from mtl_perception.config import EngineConfig, InferenceSettings
from mtl_perception.engine import build_engine
from mtl_perception.errors import ConfigError, SourceError
from mtl_perception.output_names import output_names

# Of one message of answers, compressed.
ANSWER_BYTES = 5000
GPU_WORKERS = 4
CUSTOM_KEY = 'predict_bag'

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BagOptions:
    """
    How to look at a bag.

    :param checkpoint: name or folder of the weights
    :param topics: image topics to look at, all if empty
    :param node_name: predictions go under
    :param engine: of each worker
    :param settings: of the engine
    :param class_id_format: ``name`` or ``index``
    :param predictions_only: leave what the bag holds out of the new one
    :param workers: processes, 0 for as many as there are cores for
    :raises ConfigError: if there are less than no workers
    """

    checkpoint: str = 'household'
    topics: Tuple[str, ...] = ()
    node_name: str = 'perception'
    engine: EngineConfig = EngineConfig(num_threads=1)
    settings: InferenceSettings = InferenceSettings()
    class_id_format: str = 'name'
    predictions_only: bool = False
    workers: int = 0

    def __post_init__(self):
        """Check the number."""
        if self.workers < 0:
            raise ConfigError(f'workers: expected 0 (as many as there are cores for) or more, got '
                              f'{self.workers}')


@dataclass
class BagReport:
    """
    What came out.

    :param cameras: from image topics to the names that their predictions go under
    :param count: of what was done
    :param resumed: pictures of those that an earlier run had done
    :param losses: what of the bag could not be read
    :param notes: what else is worth to know
    """

    cameras: Dict[str, str]
    count: BagCount
    resumed: int = 0
    losses: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Tell whether everything was read."""
        return not self.losses and not self.count.skipped


def worker_count(options: BagOptions, device: str = 'cpu') -> int:
    """Return how many processes to use on this machine."""
    if options.workers:
        return options.workers
    cores = len(os.sched_getaffinity(0))
    workers = max(1, cores // (options.engine.num_threads or cores))
    return workers if device == 'cpu' else min(workers, GPU_WORKERS)


def _identity(source: Path, options: BagOptions, checkpoint: Checkpoint, engine: str
              ) -> Dict[str, Any]:
    """Return what the new bag depends on; paths are not among it, so a folder may be moved."""
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    settings = {key: value for key, value in asdict(options).items()
                if key not in ('checkpoint', 'workers')}
    card = (checkpoint.folder / CARD).read_bytes()
    return {'bag': [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files],
            'weights': hashlib.sha256(card).hexdigest(), 'settings': settings, 'engine': engine}


def bag_identity(source: Path, options: BagOptions) -> str:
    """
    Return the name that the finished bag of this input and these options carries.

    :raises PerceptionError: if bag, weights or engine cannot be had
    """
    checkpoint = load_checkpoint(options.checkpoint)
    engine = build_engine(checkpoint, options.engine)
    return digest(_identity(source, options, checkpoint,
                            f'{engine.engine_name} {engine.device_name} {engine.provider}'))


def _look(path: Path, options: BagOptions) -> Tuple[List[str], Survey, List[str]]:
    with open_bag(path) as reader:
        cameras = find_cameras(reader, options.topics)
        read = [c for c in reader.connections
                if c.topic in cameras or not options.predictions_only]
        losses = [f'{path}: {c.topic} is left out: expected messages in cdr, got '
                  f'{c.ext.serialization_format!r}' for c in read if not is_cdr(c)]
        return cameras, survey(reader, cameras, read), losses


def _is_unfinished(source: Path) -> bool:
    return source.is_dir() and not (source / 'metadata.yaml').is_file() \
        and bool(storage_files(source))


def _plan(source: Path, options: BagOptions, staging: Staging) -> Dict[str, Any]:
    """Look at the bag, at what can be read of it if it is damaged."""
    path, losses, notes = source, [], []
    try:
        if _is_unfinished(source) or source.is_dir() and is_packed(source):
            path, losses = recover(source, staging.input)
        cameras, seen, left_out = _look(path, options)
    except DamagedBagError as error:
        try:
            path, losses = recover(source, staging.input)
        except SourceError:
            raise error from None
        cameras, seen, left_out = _look(path, options)
        notes = [] if losses else [f'{error}; every message could be read']
    if not options.topics and set(seen.unread) < set(cameras):
        cameras = [camera for camera in cameras if camera not in seen.unread]
        notes += [f'{topic} left out, it is no camera: {problem}'
                  for topic, problem in sorted(seen.unread.items())]
    frames = sum(seen.frames.get(camera, 0) for camera in cameras)
    if not frames:
        raise SourceError(f'{source}: expected pictures on {", ".join(cameras)}, got none')
    needed = frames * ANSWER_BYTES + (0 if options.predictions_only else seen.packed_bytes)
    free = shutil.disk_usage(staging.folder).free
    if needed > free:
        raise ConfigError(f'{staging.folder}: expected about {needed / 1e6:.0f} MB of free space '
                          f'for the new bag, got {free / 1e6:.0f} MB; free some or choose '
                          'another output')
    return {'is_recovered': path != source, 'cameras': cameras,
            'slices': seen.slices, 'frames': frames, 'losses': losses + left_out, 'notes': notes}


def _topics(path: Path, names: Dict[str, str], options: BagOptions
            ) -> Tuple[List[Topic], Dict[int, int]]:
    """Return the new bag's topics, and the numbers of those that are copied by connection."""
    answers = answer_topics(list(names.values()))
    if options.predictions_only:
        return answers, {}
    with open_bag(path) as reader:
        check_names(reader, list(names.values()))
        connections = [c for c in reader.connections if is_cdr(c)]
        return (original_topics(reader, connections) + answers,
                {c.id: number for number, c in enumerate(connections, 1)})


def _notes(staging: Staging, changed: Sequence[str], topics: Sequence[Topic]) -> Iterator[str]:
    if changed:
        yield (f'{staging.folder}: of an earlier run with other {" and ".join(changed)}, started '
               'over')
    for topic in topics:
        if not topic.encoding:
            yield (f'{topic.name} ({topic.msgtype}) is copied without a definition, the bag has '
                   'none')


def predict_bag(source: Path, output: Path, options: BagOptions = BagOptions(),
                progress: Progress = lambda done, total: None) -> BagReport:
    """
    Write a bag of what the network sees in each picture of another.

    A run that was ended leaves ``<output>.partial``; called again it goes on from there.

    :param source: rosbag2: a folder, or one .mcap or .db3 file
    :param output: folder of the new bag, appears when it is whole
    :param progress: called now and then with the number of pictures done and of all
    :raises UnfinishedError: if it can go on later
    :raises PerceptionError: on bad input, which leaves nothing behind
    """
    source, output = Path(os.path.abspath(source)), Path(os.path.abspath(output))
    check_apart(source, output)
    if not source.exists():
        raise SourceError(f'{source}: expected a rosbag2, got nothing there')
    if worker_count(options) > 1:
        prepare_processes()
    checkpoint = load_checkpoint(options.checkpoint)
    engine = build_engine(checkpoint, options.engine)
    with open_staging(output) as staging:
        identity = _identity(source, options, checkpoint,
                             f'{engine.engine_name} {engine.device_name} {engine.provider}')
        plan, changed = staging.load(identity)
        finished = staging.resume() if plan else 0
        resumed = staging.count().frames if plan else 0
        if not plan:
            staging.clear()
            plan = _plan(source, options, staging)
        names = output_names(plan['cameras'], options.node_name)
        path = staging.input / RECOVERED if plan['is_recovered'] else source
        topics, originals = _topics(path, names, options)
        if not staging.is_begun:
            staging.begin(identity, plan, topics)
        report = BagReport(names, BagCount(), resumed, plan['losses'], [
            *engine.warnings, *plan['notes'], *_notes(staging, changed, topics)])
        job = BagJob(path, tuple(map(tuple, plan['slices'])), tuple(topics), originals, names,
                     checkpoint.folder, options.engine, options.settings, options.class_id_format)
        todo = range(finished, len(job.slices))
        workers = min(len(todo), worker_count(options, engine.device_name))
        del engine
        predict_parts(job, todo, workers, staging.append,
                      lambda done: progress(resumed + done, plan['frames']))
        report.count = staging.count()
        if not report.count.frames:
            raise SourceError(f'{source}: expected pictures on {", ".join(names)}, got '
                              f'{report.count.problem}')
        report.notes += [
            f'{camera} has pictures of several encodings, each was read as what it is: '
            f'{", ".join(encodings)}'
            for camera, encodings in report.count.encodings.items() if len(encodings) > 1]
        staging.finish({CUSTOM_KEY: digest(identity)})
    return report


def check_apart(source: Path, output: Path) -> None:
    """
    Make sure that the new bag does not become part of the old one.

    :raises ConfigError: if it would
    """
    if source.resolve() in (output.resolve(), *output.resolve().parents):
        raise ConfigError(f'{output}: expected a place outside of the input {source}, got one in '
                          'it; choose another output')
