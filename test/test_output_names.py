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
"""One name for a camera's predictions, live and in bags."""

from mtl_perception.output_names import output_names
import pytest


@pytest.mark.parametrize('cameras, namespace, expected', [
    (['/image'], '', ['/eyes']),
    (['/robot/image'], '/robot', ['/robot/eyes']),
    (['/cam0/image', '/cam1/image'], '', ['/cam0/eyes', '/cam1/eyes']),
    (['/robot/cam0/image', '/cam1/image_raw/compressed'], '/robot',
     ['/robot/cam0/eyes', '/cam1/eyes']),
    (['/cam0/image', '/cam0/image2'], '', ['/cam0/image/eyes', '/cam0/image2/eyes']),
    (['/front', '/back'], '', ['/front/eyes', '/back/eyes']),
    (['/robot/front', '/robot/arm/image'], '/robot',
     ['/robot/front/eyes', '/robot/arm/image/eyes'])])
def test_each_camera_has_a_name_of_its_own(cameras, namespace, expected):
    """The camera's folder where that is clear, else the whole topic."""
    assert output_names(cameras, 'eyes', namespace) == dict(zip(cameras, expected))
