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
"""What a rendered data set says of itself, in ``dataset.json``."""

import json
from pathlib import Path
from typing import Any, Dict, Tuple

DESCRIPTION = 'dataset.json'
OF_ITSELF = ('generator', 'generator_version', 'provenance', 'held_out_variants')


def read_description(root: Path, split: str) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """
    Return what a data set says of itself, and of one of its splits.

    A data set need not say anything, and a file of this name may be somebody else's: what it does
    not say, or says in another form, is left out.

    :param root: of the data set
    :param split: name
    """
    try:
        document = json.loads((root / DESCRIPTION).read_text(encoding='utf-8'))
        own = {name: document[name] for name in OF_ITSELF if name in document}
        return own, dict(document['splits'][split])
    except (OSError, ValueError, LookupError, TypeError):
        return {}, {}
