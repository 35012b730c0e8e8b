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
"""A bag that is not finished: ``OUT.partial``, from which a killed run goes on."""

from contextlib import contextmanager
from dataclasses import asdict
import fcntl
import hashlib
import json
import os
from pathlib import Path
import shutil
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from mtl_perception.bag_prediction import BagCount, UnfinishedError
from mtl_perception.bag_records import finish_bag, RecordWriter, Topic
from mtl_perception.errors import ConfigError

RUN, LOCK, JOURNAL, INPUT, BAG = 'run.json', 'lock', 'journal', 'input', 'bag'
GROWING = f'{RUN}.tmp'


def digest(identity: Mapping[str, Any]) -> str:
    """Return a short name for what a run is made from."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class Staging:
    """
    The folder in which a bag grows, held by one run at a time; use ``open_staging``.

    Parts are appended to the new bag in their order. The journal says up to where it is whole, so
    that what a kill has left behind that is cut off.

    :param output: where the finished bag goes
    """

    def __init__(self, output: Path):
        """Name the places."""
        self.folder = output.with_name(f'{output.name}.partial')
        self.input = self.folder / INPUT
        self._output = output
        self._bag = self.folder / BAG / f'{output.name}.mcap'

    @property
    def is_begun(self) -> bool:
        """Tell whether the new bag has been started."""
        return (self.folder / RUN).exists()

    def check(self) -> None:
        """
        Make sure that the folder holds nothing but an unfinished bag.

        :raises ConfigError: if it does
        """
        known = {RUN, GROWING, LOCK, JOURNAL, INPUT, BAG}
        if not self.folder.is_dir() or {item.name for item in self.folder.iterdir()} - known:
            raise ConfigError(f'{self.folder}: expected nothing or an unfinished bag, got other '
                              'files; remove it or choose another output')

    def clear(self) -> None:
        """Remove all that is in it."""
        for item in self.folder.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            elif item.name != LOCK:
                item.unlink()

    def load(self, identity: Mapping[str, Any]) -> Tuple[Dict[str, Any], List[str]]:
        """
        Return what an earlier run has planned, empty if there is none or it was another.

        :param identity: what this run is made from, by kind
        :return: the plan, and the kinds in which the earlier run differs
        """
        try:
            run = json.loads((self.folder / RUN).read_text(encoding='utf-8'))
            changed = [kind for kind, value in json.loads(json.dumps(identity)).items()
                       if run['identity'].get(kind) != value]
            return ({} if changed else run['plan']), changed
        except (OSError, ValueError, LookupError, AttributeError):
            return {}, []

    def begin(self, identity: Mapping[str, Any], plan: Mapping[str, Any],
              topics: Sequence[Topic]) -> None:
        """Start the new bag and keep what this run is."""
        self._bag.parent.mkdir()
        with self._bag.open('wb') as stream:
            writer = RecordWriter(stream)
            writer.start_file()
            for number, topic in enumerate(topics, 1):
                writer.declare(number, topic)
        self._note(end=self._bag.stat().st_size)
        growing = self.folder / GROWING
        growing.write_text(json.dumps({'identity': identity, 'plan': plan}), encoding='utf-8')
        os.replace(growing, self.folder / RUN)

    def resume(self) -> int:
        """
        Cut the bag back to where it is whole.

        :return: number of parts that it has
        """
        lines = self._lines()
        os.truncate(self._bag, lines[-1]['end'])
        (self.folder / JOURNAL).write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
        return len(lines) - 1

    def append(self, records: bytes, count: BagCount) -> None:
        """Append the next part and take note of what was done for it."""
        with self._bag.open('ab') as stream:
            stream.write(records)
            end = stream.tell()
        self._note(end=end, count=asdict(count))

    def _note(self, **line: Any) -> None:
        with (self.folder / JOURNAL).open('a', encoding='utf-8') as journal:
            journal.write(f'{json.dumps(line)}\n')

    def _lines(self) -> List[Dict[str, Any]]:
        """Return what the journal says of what there is: of the begin, then of each part."""
        size = self._bag.stat().st_size
        lines = []
        for text in (self.folder / JOURNAL).read_text(encoding='utf-8').splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                break  # torn by the kill
            if line['end'] > size:
                break  # the journal got to the disk before the bag did
            lines.append(line)
        return lines

    def count(self) -> BagCount:
        """Return what was done for all parts that the bag has."""
        total = BagCount()
        for line in self._lines()[1:]:
            total.add(BagCount(**line['count']))
        return total

    def finish(self, custom: Mapping[str, str]) -> None:
        """
        Turn it into the finished bag.

        :param custom: what else metadata.yaml is to keep
        """
        finish_bag(self._bag, custom)
        for file in self._bag.parent.iterdir():
            with file.open('rb') as stream:
                os.fsync(stream.fileno())
        self._bag.parent.rename(self._output)
        shutil.rmtree(self.folder)


@contextmanager
def open_staging(output: Path) -> Iterator[Staging]:
    """
    Hold the folder in which ``output`` grows; an error removes it unless the run can go on later.

    :raises ConfigError: if there is something at ``output``, the folder holds other files, cannot
        be made, or another run has it
    :raises UnfinishedError: where an OSError ends what has been begun
    """
    if output.exists():
        raise ConfigError(f'{output}: expected a new name for the bag, got one that exists; '
                          'remove it or choose another')
    staging = Staging(output)
    try:
        if staging.folder.exists():
            staging.check()
        staging.folder.mkdir(parents=True, exist_ok=True)
        lock = (staging.folder / LOCK).open('a')
    except OSError as error:
        raise ConfigError(f'{output}: the bag cannot be written: {error.strerror}') from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f'{output}: expected nobody else to write it, got another run that '
                              'does; wait for it') from None
        try:
            yield staging
        except BaseException as error:
            can_go_on = staging.is_begun and isinstance(
                error, (OSError, UnfinishedError, KeyboardInterrupt))
            if not can_go_on:
                shutil.rmtree(staging.folder, ignore_errors=True)
            elif not isinstance(error, KeyboardInterrupt):
                reason = error.strerror if isinstance(error, OSError) else error
                raise UnfinishedError(f'{output}: the bag is not finished: {reason}; '
                                      'the same command goes on from there') from None
            if isinstance(error, OSError):
                raise ConfigError(f'{output}: the bag cannot be written: '
                                  f'{error.strerror}') from None
            raise
