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
"""The ten arrangements: their asset files and the surface that objects stand on."""

from dataclasses import dataclass
from typing import Tuple

from mtl_perception.household.classes import ARRANGEMENTS


@dataclass(frozen=True)
class Arrangement:
    """
    One room of the asset package.

    :param file: name of its model in the ``scenes`` folder, without ``.xml``
    :param surface: the geom or mesh whose material changes and on which objects stand
    :param height: of that surface above the floor, metres
    :param centre: middle of the free area on it, ``x, y`` metres
    :param half_size: half the free area's size, ``x, y`` metres
    """

    file: str
    surface: str
    height: float
    centre: Tuple[float, float]
    half_size: Tuple[float, float]


PLACES_BY_NAME = {
    'coffee_table': Arrangement(
        'libero_coffee_table_base_style', 'short_coffee_table_vis', 0.43, (0.0, 0.02),
        (0.31, 0.6)),
    'coffee_table_blue': Arrangement(
        'libero_coffee_table_blue_style', 'short_coffee_table_vis', 0.43, (0.0, 0.02),
        (0.31, 0.6)),
    'floor': Arrangement('libero_floor_base_style', 'floor', 0.0, (0.0, 0.0), (0.45, 0.45)),
    'floor_blue': Arrangement('libero_floor_blue_style', 'floor', 0.0, (0.0, 0.0), (0.45, 0.45)),
    'floor_coffee': Arrangement(
        'libero_floor_coffee_style', 'floor', 0.0, (0.0, 0.0), (0.45, 0.45)),
    'kitchen': Arrangement(
        'libero_kitchen_tabletop_base_style', 'table_visual', 0.8, (0.0, 0.0), (0.37, 0.37)),
    'living_room': Arrangement(
        'libero_living_room_tabletop_base_style', 'living_room_table_vis', 0.426, (-0.17, 0.08),
        (0.4, 0.55)),
    'study': Arrangement(
        'libero_study_base_style', 'desk_vis', 0.881, (-0.1, 0.3), (0.4, 0.4)),
    'tabletop': Arrangement(
        'libero_tabletop_base_style', 'table_visual', 0.8, (0.0, 0.0), (0.37, 0.37)),
    'tabletop_blue': Arrangement(
        'libero_tabletop_blue_style', 'table_visual', 0.8, (0.0, 0.0), (0.37, 0.37)),
}
assert tuple(PLACES_BY_NAME) == ARRANGEMENTS
