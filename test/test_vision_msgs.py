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
"""The vision_msgs that set-up generates are upstream's 4.1 on the wire."""

import json
from pathlib import Path

import pytest

TEST = Path(__file__).resolve().parent
EXPECTED = json.loads((TEST / 'data' / 'vision_msgs_type_hashes.json').read_text('utf-8'))


def test_each_type_has_a_definition():
    """The package's own definitions are the 16 types and no others."""
    definitions = (TEST.parent / 'msgs' / 'vision_msgs' / 'msg').glob('*.msg')
    assert len(EXPECTED) == 16
    assert {f'vision_msgs/msg/{path.stem}' for path in definitions} == set(EXPECTED)


@pytest.mark.parametrize('name', sorted(EXPECTED))
def test_type_hash_is_upstreams(name):
    """DDS peers compare this hash: a field of another name, type or order changes it."""
    messages = pytest.importorskip('vision_msgs.msg')
    assert hasattr(messages, name.rpartition('/')[2])
    found = [prefix / 'share' / f'{name}.json' for prefix in Path(messages.__file__).parents]
    descriptions = [path for path in found if path.is_file()]
    if not descriptions:
        pytest.skip('this ROS distribution installs no type descriptions (Humble)')
    description = json.loads(descriptions[0].read_text('utf-8'))
    hashes = {entry['type_name']: entry['hash_string'] for entry in description['type_hashes']}
    assert hashes[name] == EXPECTED[name]
