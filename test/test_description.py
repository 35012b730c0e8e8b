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
"""What a data set says of itself is taken where it says it, and never ends a run."""

import json

from mtl_perception.data.description import DESCRIPTION, read_description
import pytest

DOCUMENT = {'generator': 'render', 'classes': ['cup'], 'splits': {'train': {'seed': 1}}}


def test_own_fields_and_those_of_the_split(tmp_path):
    """The classes are the card's business."""
    (tmp_path / DESCRIPTION).write_text(json.dumps(DOCUMENT))
    assert read_description(tmp_path, 'train') == ({'generator': 'render'}, {'seed': 1})


@pytest.mark.parametrize('content', (
    b'[1, 2]', b'{', b'\xff', b'{"splits": {}}', b'{"splits": {"train": 3}}', b'{"splits": 1}'))
def test_another_file_of_that_name_says_nothing(tmp_path, content):
    """Many tools write a dataset.json."""
    (tmp_path / DESCRIPTION).write_bytes(content)
    assert read_description(tmp_path, 'train') == ({}, {})


def test_none_says_nothing(tmp_path):
    """Nor does a COCO file's path, which is no folder."""
    (tmp_path / 'instances.json').write_text('{}')
    assert read_description(tmp_path, 'train') == ({}, {})
    assert read_description(tmp_path / 'instances.json', 'train') == ({}, {})
