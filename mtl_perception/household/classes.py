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
"""Names of the household's objects and places, and which variants are kept out of training."""

OBJECT_CLASSES = (
    'alphabet_soup', 'bbq_sauce', 'butter', 'chocolate_pudding', 'cookies', 'cream_cheese',
    'ketchup', 'macaroni_and_cheese', 'milk', 'orange_juice', 'salad_dressing', 'tomato_sauce',
    'basket', 'book', 'bowl', 'frypan', 'moka_pot', 'mug', 'plate', 'wine_bottle',
)

ARRANGEMENTS = (
    'coffee_table', 'coffee_table_blue', 'floor', 'floor_blue', 'floor_coffee', 'kitchen',
    'living_room', 'study', 'tabletop', 'tabletop_blue',
)

MATERIALS = ('oak', 'marble', 'slate')

PLACES = tuple(
    f'{arrangement}_{material}' for arrangement in ARRANGEMENTS for material in MATERIALS)
