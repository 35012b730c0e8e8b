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
"""The names under which cameras' predictions go, the same in a live node and in a bag."""

from typing import Dict, Sequence

COMPRESSED = '/compressed'


def output_names(cameras: Sequence[str], node: str, namespace: str = '') -> Dict[str, str]:
    """
    Return the name under which each camera's predictions go.

    One camera's are ``/perception``; of several, ``/front/image_raw``'s are
    ``/front/perception``, or ``/front/image_raw/perception`` where that is not clear.

    :param cameras: full names of image topics, no two the same
    :param node: name of the node
    :param namespace: of the node, such as ``/robot``; it is no camera's name
    """
    if len(cameras) == 1:
        return {cameras[0]: f'{namespace}/{node}'}
    spaces = [camera.removesuffix(COMPRESSED).rpartition('/')[0] for camera in cameras]
    if namespace in spaces or len(set(spaces)) < len(spaces):
        spaces = list(cameras)
    return {camera: f'{space}/{node}' for camera, space in zip(cameras, spaces)}
