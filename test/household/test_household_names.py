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
"""The tables of the household: names, variants and splits."""

from mtl_perception.household.classes import OBJECT_CLASSES, PLACES
from mtl_perception.household.objects import ASSETS, HELD_OUT_VARIANTS
from mtl_perception.household.splits import SPLITS, USUAL_CAMERA


def test_twenty_classes_and_thirty_places():
    """The heads' names are unique and as many as the weights' card says."""
    assert len(set(OBJECT_CLASSES)) == len(OBJECT_CLASSES) == 20
    assert len(set(PLACES)) == len(PLACES) == 30
    assert OBJECT_CLASSES[0] == 'alphabet_soup' and OBJECT_CLASSES[19] == 'wine_bottle'


def test_every_class_has_an_asset_to_train_on():
    """Holding variants out leaves each class something to learn from."""
    seen = {asset.label for asset in ASSETS if asset.label and not asset.held_out}
    assert seen == set(OBJECT_CLASSES)
    assert len({asset.name for asset in ASSETS}) == len(ASSETS)
    assert len(HELD_OUT_VARIANTS) == 18


def test_class_ids_count_from_one_and_distractors_are_background():
    """Mask ids, detection ids and the order of the names agree."""
    ids = {asset.label: asset.class_id for asset in ASSETS}
    assert ids.pop(None) == 0
    assert ids == {name: index + 1 for index, name in enumerate(OBJECT_CLASSES)}


def test_splits_share_no_seed_and_high_cameras_are_never_trained():
    """No two splits can hold the same scene."""
    assert len({split.seed for split in SPLITS.values()}) == len(SPLITS)
    assert SPLITS['test_heights'].camera.elevation[0] > USUAL_CAMERA.elevation[1]
    assert [name for name, split in SPLITS.items() if split.held_out_variants] == \
        ['test_variants']
