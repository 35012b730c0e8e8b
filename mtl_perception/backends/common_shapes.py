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
"""Shapes of the network's input that most cameras give, for which a back end prepares."""

from typing import List, Tuple

from mtl_perception.card import Card
from mtl_perception.preprocess import input_shape

COMMON_SOURCES = ((3, 4), (9, 16))
"""Rows and columns of cameras' pictures whose network shapes are worth a preparation."""

Shape = Tuple[int, ...]


def common_shapes(card: Card) -> List[Shape]:
    """Return ``[1, H, W, 3]`` of the pictures of 4:3 and 16:9 cameras, the former first."""
    size = card.input
    return list(dict.fromkeys((1, *input_shape(size.height, size.width, *source), 3)
                              for source in COMMON_SOURCES))
