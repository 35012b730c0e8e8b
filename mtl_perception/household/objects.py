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
"""The assets that stand for each class, how they rest, and the assets that are no class."""

from dataclasses import dataclass
from typing import Optional

from mtl_perception.household.classes import OBJECT_CLASSES

HOPE = 'stable_hope_objects'
SCANNED = 'stable_scanned_objects'
TURBOSQUID = 'turbosquid_objects'


@dataclass(frozen=True)
class Asset:
    """
    One textured model of the asset package.

    :param name: its folder; names are unique over the three collections
    :param collection: folder of the collection it comes from
    :param label: name of its class, None for a distractor
    :param shape: ``block`` rests on any face, ``bottle`` stands or lies on a flat side, ``can``
        stands or lies and rolls, ``dish`` stands and holds things, ``upright`` only stands
    :param held_out: True if no training picture may show it
    """

    name: str
    collection: str
    label: Optional[str]
    shape: str
    held_out: bool = False

    @property
    def up_axis(self) -> int:
        """Return the axis of the model that points up when it stands."""
        return 1 if self.collection == HOPE and self.label != 'bbq_sauce' else 2

    @property
    def class_id(self) -> int:
        """Return 1 to 20 in the order of the classes, 0 for a distractor."""
        return OBJECT_CLASSES.index(self.label) + 1 if self.label else 0


# class: (collection, shape, variants seen in training, variants held out)
_CLASS_ASSETS = {
    'alphabet_soup': (HOPE, 'can', 'alphabet_soup', 'red_alphabet_soup'),
    'bbq_sauce': (HOPE, 'bottle', 'bbq_sauce', 'green_bbq_sauce'),
    'butter': (HOPE, 'block', 'butter', 'green_butter'),
    'chocolate_pudding': (HOPE, 'block', 'chocolate_pudding', 'green_chocolate_pudding'),
    'cookies': (HOPE, 'block', 'cookies', 'yellow_cookies'),
    'cream_cheese': (HOPE, 'block', 'cream_cheese', 'red_cream_cheese'),
    'ketchup': (HOPE, 'bottle', 'ketchup green_ketchup', 'blue_ketchup'),
    'macaroni_and_cheese': (HOPE, 'block', 'macaroni_and_cheese', ''),
    'milk': (HOPE, 'bottle', 'milk', 'yellow_milk'),
    'orange_juice': (HOPE, 'bottle', 'orange_juice', 'red_orange_juice'),
    'salad_dressing': (HOPE, 'bottle', 'salad_dressing new_salad_dressing',
                       'red_salad_dressing'),
    'tomato_sauce': (HOPE, 'can', 'tomato_sauce', 'yellow_tomato_sauce'),
    'basket': (SCANNED, 'dish', 'basket', 'red_basket'),
    'book': (TURBOSQUID, 'block', 'black_book yellow_book', 'red_yellow_book'),
    'bowl': (SCANNED, 'dish', 'akita_black_bowl white_bowl red_bowl', 'yellow_bowl'),
    'frypan': (SCANNED, 'dish', 'chefmate_8_frypan', ''),
    'moka_pot': (TURBOSQUID, 'upright', 'moka_pot', 'yellow_moka_pot'),
    'mug': (TURBOSQUID, 'upright', 'red_coffee_mug porcelain_mug', 'white_yellow_mug'),
    'plate': (SCANNED, 'dish', 'plate', 'yellow_plate'),
    'wine_bottle': (TURBOSQUID, 'can', 'wine_bottle', 'white_bottle'),
}

_DISTRACTOR_ASSETS = {
    HOPE: 'popcorn:block',
    SCANNED: 'glazed_rim_porcelain_ramekin:dish red_ramekin:dish simple_rack:upright',
    TURBOSQUID: 'desk_caddy:upright yellow_desk_caddy:upright wooden_tray:dish '
                'white_storage_box:upright bowl_drainer:upright wine_rack_stand:upright '
                'wooden_shelf:upright wooden_two_layer_shelf:upright',
}


def _catalogue():
    for label in OBJECT_CLASSES:
        collection, shape, seen, held_out = _CLASS_ASSETS[label]
        for name in seen.split():
            yield Asset(name, collection, label, shape)
        for name in held_out.split():
            yield Asset(name, collection, label, shape, held_out=True)
    for collection, entries in _DISTRACTOR_ASSETS.items():
        for entry in entries.split():
            name, shape = entry.split(':')
            yield Asset(name, collection, None, shape)


ASSETS = tuple(_catalogue())
ASSETS_BY_NAME = {asset.name: asset for asset in ASSETS}
HELD_OUT_VARIANTS = tuple(asset.name for asset in ASSETS if asset.held_out)
