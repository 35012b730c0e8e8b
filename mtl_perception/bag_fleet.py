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
"""A folder of bags, one after the other here or one a task on a Dask cluster."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
import logging
from pathlib import Path
import re
import signal
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from mtl_perception.bag_recovery import storage_files
from mtl_perception.bag_run import (
    bag_identity, BagOptions, check_apart, CUSTOM_KEY, predict_bag, Progress, worker_count)
from mtl_perception.errors import ConfigError, PerceptionError
import yaml

WHOLE, INCOMPLETE, FAILED = 0, 1, 2
RESULTS = ('done', 'incomplete', 'failed')
CONNECT_S = 10
SUFFIXES = ('.mcap', '.db3')


@dataclass(frozen=True)
class Outcome:
    """
    What came of one bag.

    :param name: of the bag and of the new one
    :param status: 0 done, 1 done with losses, 2 failed
    :param problems: what was lost or went wrong, a line each
    """

    name: str
    status: int
    frames: int = 0
    objects: int = 0
    problems: Tuple[str, ...] = ()
    was_there: bool = False

    @property
    def result(self) -> str:
        """Return the status as a word."""
        return 'done before' if self.was_there else RESULTS[self.status]


def _is_recording(files: List[Path]) -> bool:
    """Tell whether files are the pieces of one recording: one, or of a name and counted from 0."""
    if len(files) == 1:
        return True
    names = [re.fullmatch(r'(.+)_(\d+)\.\w+(\.zstd)?', file.name) for file in files]
    return all(names) and len({name[1] for name in names}) == 1 \
        and sorted(int(name[2]) for name in names) == list(range(len(files)))


def find_bags(path: Path) -> Dict[str, Path]:
    """
    Return the bags in a folder by name; none if the path is a bag itself, finished or not.

    :param path: of a bag, or of a folder of bags
    """
    if not path.is_dir() or (path / 'metadata.yaml').is_file():
        return {}
    folders = [item for item in sorted(path.iterdir())
               if item.is_dir() and item.suffix != '.partial' and storage_files(item)]
    files = storage_files(path)
    if files and not folders and _is_recording(files):
        return {}
    bags = folders + [file for file in files if file.suffix in SUFFIXES]
    stems = Counter(bag.stem for bag in bags)
    return {bag.stem if bag in files and stems[bag.stem] == 1 else bag.name: bag for bag in bags}


def fleet_status(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if all is done, 2 if nothing is, 1 if something was lost or failed."""
    found = {outcome.status for outcome in outcomes}
    return found.pop() if len(found) == 1 else INCOMPLETE


def _was_done(source: Path, output: Path, options: BagOptions) -> bool:
    """Tell whether the new bag is there already, made from the same with the same."""
    try:
        metadata = yaml.safe_load((output / 'metadata.yaml').read_text(encoding='utf-8'))
        custom = metadata['rosbag2_bagfile_information']['custom_data'] or {}
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        return False
    return custom.get(CUSTOM_KEY) == bag_identity(source, options)


def predict_one(source: Path, output: Path, options: BagOptions) -> Outcome:
    """Do one bag; what is wrong with it is the outcome."""
    try:
        if output.exists() and _was_done(source, output, options):
            return Outcome(output.name, WHOLE, was_there=True)
        report = predict_bag(source, output, options)
    except PerceptionError as error:
        return Outcome(output.name, FAILED, problems=(str(error),))
    count = report.count
    skipped = (f'{count.skipped} pictures skipped, the last because {count.problem}',) \
        if count.skipped else ()
    return Outcome(output.name, WHOLE if report.is_whole else INCOMPLETE, count.frames,
                   count.objects, (*report.losses, *skipped))


def predict_bags(bags: Dict[str, Path], source: Path, output: Path, options: BagOptions,
                 cluster: str, progress: Progress) -> List[Outcome]:
    """
    Do all bags; one that fails does not keep the others from being done.

    :param bags: from ``find_bags``
    :param source: the folder that they are in
    :param output: the new bags go to ``<output>/<name>``
    :param cluster: address of a Dask scheduler; empty for this machine, through Dask if it is
        installed
    :param progress: called with the number of bags done and of all
    :return: by name
    :raises ConfigError: if the output cannot be had or the cluster cannot be reached
    """
    source, output = source.resolve(), output.resolve()
    check_apart(source, output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'{output}: the bags cannot be written: {error.strerror}') from None
    tasks = {name: (bag.resolve(), output / name) for name, bag in bags.items()}
    run = _through_dask if cluster or len(bags) > 1 and _has_dask() else _here
    outcomes: List[Outcome] = []
    for outcome in run(tasks, options, cluster):
        outcomes.append(outcome)
        progress(len(outcomes), len(bags))
    return sorted(outcomes, key=lambda outcome: outcome.name)


def _has_dask() -> bool:
    try:
        import distributed  # noqa: F401
        return True
    except ImportError:
        return False


def _here(tasks: Dict[str, Tuple[Path, Path]], options: BagOptions, _: str) -> Iterator[Outcome]:
    for source, output in tasks.values():
        yield predict_one(source, output, options)


def _through_dask(tasks: Dict[str, Tuple[Path, Path]], options: BagOptions, address: str
                  ) -> Iterator[Outcome]:
    try:
        from distributed import as_completed, Client
    except ImportError:
        raise ConfigError('--cluster: expected Dask, got none; pip install '
                          '"mtl_perception[cluster]"') from None
    workers = min(worker_count(options), len(tasks))
    # A task has one thread of a Dask worker, and those may have no processes of their own.
    options = replace(options, workers=1)
    with ExitStack() as opened:
        cluster = address or opened.enter_context(_local_cluster(workers))
        try:
            client = opened.enter_context(Client(cluster, timeout=CONNECT_S))
        except (OSError, ValueError) as error:
            raise ConfigError(f'--cluster: expected a Dask scheduler at {address}, got: '
                              f'{" ".join(str(error).split())}') from None
        futures = {client.submit(predict_one, source, target, options, pure=False): name
                   for name, (source, target) in tasks.items()}
        opened.callback(client.cancel, list(futures))
        for future in as_completed(futures):
            yield _outcome(future, futures[future])


def _local_cluster(workers: int) -> Any:
    from distributed import LocalCluster
    # Workers inherit it: a terminal's Ctrl-C reaches all, and it is the parent that ends them.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return LocalCluster(n_workers=workers, threads_per_worker=1,
                            dashboard_address='127.0.0.1:0', silence_logs=logging.CRITICAL)
    finally:
        signal.signal(signal.SIGINT, before)


def _outcome(future: Any, name: str) -> Outcome:
    error = future.exception()
    if error is None:
        return future.result()
    return Outcome(name, FAILED, problems=(f'{type(error).__name__}: {error}',))
