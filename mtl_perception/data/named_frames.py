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
"""All frames of some sources with names for the files that are made of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import cv2
from mtl_perception.data.sample import read_picture
from mtl_perception.data.sources import open_frames, PICTURE_SUFFIXES
from mtl_perception.errors import DatasetError, SourceError
from mtl_perception.frame import Frame

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')


@dataclass(frozen=True, eq=False)
class NamedFrame:
    """
    A frame and what to call it.

    :param name: of files that are made of it, with their folders, without suffix
    :param frame: as it was read
    :param suffix: of the picture's file; ``.png`` where it comes from something else
    :param video: name of the video that it is of, empty if of none
    """

    name: str
    frame: Frame
    suffix: str = '.png'
    video: str = ''


def _is_bag(path: Path) -> bool:
    return (path / 'metadata.yaml').is_file()


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _inside(folder: Path) -> List[Tuple[str, Path]]:
    """Return names and paths of what a folder and those in it hold, sorted."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith('.'):
            continue
        if _is_bag(path):
            found.append((path.name, path))
        elif path.is_dir():
            found += [(f'{path.name}/{name}', file) for name, file in _inside(path)]
        elif _is_picture(path) or _is_video(path):
            found.append((path.stem, path))
    return found


def _count(path: Path) -> Optional[int]:
    if _is_picture(path):
        return 1
    if not _is_video(path):
        return None
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return count if count > 0 else None


class NamedFrames:
    """
    The frames of pictures, folders (with what is in their folders), videos, bags or cameras.

    A picture's name is its file's without suffix, below its folders' where the input is a folder;
    frames of others have a number behind the name.

    :param inputs: paths
    :param topic: which of a bag's image topics; not needed where it has one
    :raises SourceError: if an input does not exist or a folder holds nothing of the kind

    ``problems`` grows while frames are read: what cannot be read is skipped and said there.
    """

    def __init__(self, inputs: Sequence[Union[str, Path]], topic: str = ''):
        """Find all files."""
        self.problems: List[str] = []
        self.sources: List[Tuple[str, Path]] = []
        self._topic = topic
        for path in map(Path, inputs):
            if path.is_dir() and not _is_bag(path):
                found = _inside(path)
                if not found:
                    raise SourceError(f'{path}: expected pictures ({" ".join(PICTURE_SUFFIXES)}), '
                                      'videos or a rosbag2, got none')
                self.sources += found
            elif path.exists():
                self.sources.append((path.stem or path.name, path))
            else:
                raise SourceError(f'expected a picture, folder, video or bag, got {str(path)!r}, '
                                  'which does not exist')

    @property
    def total(self) -> Optional[int]:
        """Return about how many frames there are; None where nobody knows before they are read."""
        counts = [_count(path) for _, path in self.sources]
        return None if None in counts else sum(counts)

    def __iter__(self) -> Iterator[NamedFrame]:
        """Yield all frames that can be read."""
        for name, path in self.sources:
            try:
                if _is_picture(path):
                    yield NamedFrame(name, Frame(read_picture(path)), path.suffix)
                else:
                    video = name if _is_video(path) else ''
                    for index, frame in enumerate(open_frames(path, self._topic)):
                        yield NamedFrame(f'{name}_{index:06d}', frame, video=video)
            except DatasetError as error:
                # What to do is said for data sets.
                self.problems.append(str(error).partition(';')[0])
            except SourceError as error:
                self.problems.append(str(error))
