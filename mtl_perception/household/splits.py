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
"""The named splits: each has its own seed, so no two share a scene."""

from dataclasses import dataclass
from typing import Tuple

Range = Tuple[float, float]


@dataclass(frozen=True)
class CameraRange:
    """
    Where the camera may be; every value is drawn uniformly.

    :param elevation: angle of the line of sight below the horizon, degrees
    :param distance: from the point looked at, metres
    :param azimuth: round the scene, 0 faces the furniture, degrees
    :param roll: about the line of sight, degrees
    :param fov: vertical field of view, degrees
    :param horizon: largest angle below the horizon of the picture's upper edge, degrees; keeps
        the room in view, without which no place can be told
    """

    elevation: Range
    distance: Range = (0.45, 1.4)
    azimuth: Range = (-60.0, 60.0)
    roll: Range = (-7.0, 7.0)
    fov: Range = (44.0, 66.0)
    horizon: float = 8.0


@dataclass(frozen=True)
class Split:
    """
    One set of pictures.

    :param seed: of its scenes; no other split has it
    :param frames: number of pictures `render_dataset` makes unless told otherwise
    :param camera: where the camera may be
    :param held_out_variants: show the variants kept out of training wherever a class has one
    """

    seed: int
    frames: int
    camera: CameraRange
    held_out_variants: bool = False


USUAL_CAMERA = CameraRange(elevation=(12.0, 38.0))
HIGH_CAMERA = CameraRange(elevation=(44.0, 58.0), horizon=28.0)
NEAR_CAMERA = CameraRange(elevation=(12.0, 38.0), distance=(0.3, 0.65))

SPLITS = {
    'train': Split(seed=1, frames=6000, camera=USUAL_CAMERA),
    'val': Split(seed=2, frames=200, camera=USUAL_CAMERA),
    'test': Split(seed=3, frames=500, camera=USUAL_CAMERA),
    'test_variants': Split(seed=4, frames=300, camera=USUAL_CAMERA, held_out_variants=True),
    'test_heights': Split(seed=5, frames=300, camera=HIGH_CAMERA),
    'study': Split(seed=21, frames=2400, camera=NEAR_CAMERA),
    'study_test': Split(seed=22, frames=300, camera=NEAR_CAMERA),
    'study_val': Split(seed=23, frames=100, camera=NEAR_CAMERA),
    'smoke': Split(seed=9, frames=40, camera=USUAL_CAMERA),
    'tour': Split(seed=10, frames=240, camera=USUAL_CAMERA),
}
