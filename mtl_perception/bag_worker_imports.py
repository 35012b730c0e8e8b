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
"""
What takes long before a worker's first picture, for the process that all workers are forked from.

Importing this module is all: what fails here fails again in the worker, which can say so.
"""

from contextlib import suppress

from mtl_perception import bag_workers  # noqa: F401
from mtl_perception.bags import bag_types
from mtl_perception.errors import PerceptionError

with suppress(ImportError):
    from mtl_perception.backends import openvino_backend  # noqa: F401
with suppress(PerceptionError):
    bag_types()
