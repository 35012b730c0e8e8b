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
"""Tables for pages that people read, in a browser or in a terminal."""

from typing import Sequence


def markdown_table(rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """
    Return a table whose columns line up in a terminal too.

    :param rows: the first is the header
    :param text_columns: the first so many columns are flush left, the others right
    """
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        return '| ' + ' | '.join(
            text.ljust(width) if index < text_columns else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths))) + ' |'
    rule = '|' + '|'.join('-' * (width + 1) + ('-' if index < text_columns else ':')
                          for index, width in enumerate(widths)) + '|'
    return '\n'.join([line(rows[0]), rule, *map(line, rows[1:])])
