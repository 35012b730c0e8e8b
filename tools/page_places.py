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
"""Pages of docs/ that a command writes parts of."""

import re
from typing import Mapping


def fill_places(page: str, texts: Mapping[str, str]) -> str:
    """
    Return the page with its places filled anew.

    :param page: with a place ``<!-- name -->`` ... ``<!-- end name -->`` for each text
    :param texts: by the name of their place
    :raises ValueError: if the page lacks a place
    """
    for name, text in texts.items():
        filled = f'<!-- {name} -->\n\n{text}\n\n<!-- end {name} -->'
        page, count = re.subn(f'<!-- {name} -->.*?<!-- end {name} -->', lambda _: filled, page,
                              flags=re.DOTALL)
        if count != 1:
            raise ValueError(f'expected one place for {name} in the page, got {count}')
    return page
