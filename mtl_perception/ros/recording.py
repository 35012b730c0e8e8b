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
"""What a recording of predictions is: topics, name, the space it needs, ``ros2 bag``'s command."""

from datetime import datetime
from pathlib import Path
import shutil
from typing import Dict, Iterable, List

from mtl_perception.errors import ConfigError
from mtl_perception.messages import MESSAGE_TYPES, OUTPUT_TYPES

IMAGE = MESSAGE_TYPES['Image']
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
LABEL_INFO = 'label_info'
LABELLED = ('detections', 'segmentation', 'classification')
# A robot whose disk is full has other troubles than a recording that ends.
START_BYTES = 10**9
STOP_BYTES = 3 * 10**8
# So that a power cut costs one file of a long recording.
FILE_BYTES = 2 * 10**9


def prediction_types(node: str) -> Dict[str, str]:
    """
    Return the type of each topic that says what a node sees, by topic.

    Pictures for people are left out, as overlay and coloured mask can be drawn again.

    :param node: full name, such as ``/perception``
    """
    return {**{f'{node}/{output}': name for output, name in OUTPUT_TYPES.items()},
            **{f'{node}/{head}/{LABEL_INFO}': MESSAGE_TYPES['LabelInfo'] for head in LABELLED}}


def image_type(topic: str) -> str:
    """Return the type of an image topic, which its name shows."""
    return COMPRESSED_IMAGE if topic.endswith('/compressed') else IMAGE


def recording_name(node: str, moment: datetime) -> str:
    """
    Return a name such as ``front_perception_2026-11-22-12-03-05``.

    :param node: full name, such as ``/front/perception``
    :param moment: of the start
    """
    return f'{node.strip("/").replace("/", "_")}_{moment:%Y-%m-%d-%H-%M-%S}'


def check_space(folder: Path, needed: int) -> None:
    """
    Make sure that there is space for a recording.

    :param folder: that the recording is in
    :param needed: bytes
    :raises ConfigError: if fewer are free, or there is no such folder
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ConfigError(f'{folder}: expected a folder to record into, got: {error.strerror}; '
                          'make it or choose another') from None
    if free < needed:
        raise ConfigError(f'{folder}: expected at least {needed / 1e6:.0f} MB free for a '
                          f'recording, got {free / 1e6:.0f}; free some or choose another folder')


def ros2_bag_command(topics: Iterable[str], path: Path) -> List[str]:
    """
    Return the command that records with ROS's own tool, as Humble and all after it know it.

    :param topics: full names
    :param path: of the bag
    """
    # Humble takes topics without --topics only, Lyrical with it only; both take an expression.
    return ['ros2', 'bag', 'record', '--storage', 'mcap', '--storage-preset-profile', 'zstd_fast',
            '--max-bag-size', str(FILE_BYTES), '--output', str(path),
            '--regex', f'^({"|".join(topics)})$']
