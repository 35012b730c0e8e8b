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
"""Every shape row of the report is a row here."""

from mtl_perception.card import HeadLayout
from mtl_perception.network.report import ReportNetwork
import pytest
import torch

LAYOUT = HeadLayout(detection=20, segmentation=21, classification=30)

# Name, shape of one 512x512 picture; the order and the words are the report's.
ROWS = (
    ('input', (3, 512, 512)),
    ('low_feat', (24, 64, 64)),
    ('high_feat', (576, 16, 16)),
    ('low_pooled', (24, 16, 16)),
    ('reduce_low', (64, 16, 16)),
    ('reduce_high', (64, 16, 16)),
    ('cat', (128, 16, 16)),
    ('fuse', (256, 16, 16)),
    ('head', (256, 16, 16)),
    ('det_seg_cls_head', (76, 16, 16)),
    ('detection', (25, 16, 16)),
    ('segmentation_cells', (21, 16, 16)),
    ('segmentation', (21, 512, 512)),
    ('classification_cells', (30, 16, 16)),
    ('classification', (30,)),
)


@pytest.fixture(scope='module')
def network():
    """Return the report's network as the report sizes it."""
    torch.manual_seed(0)
    return ReportNetwork(LAYOUT).eval()


@pytest.fixture(scope='module')
def shapes(network):
    """Return the shape of every map for two 512x512 pictures, by name."""
    images = torch.rand(2, 3, 512, 512)
    with torch.inference_mode():
        maps = {'input': images, **network.maps(images), **network.heads(images)}
    return {name: tuple(value.shape) for name, value in maps.items()}


@pytest.mark.parametrize('name, shape', ROWS, ids=[row[0] for row in ROWS])
def test_shape_is_the_reports(shapes, name, shape):
    """A map has the shape the report states, with the batch in front."""
    assert shapes[name] == (2, *shape)


def test_every_map_is_a_row(shapes):
    """No map goes untested."""
    assert set(shapes) == {name for name, _ in ROWS}


def test_parameters_are_the_reports(network):
    """The count is the one that was reproduced from the report."""
    assert sum(value.numel() for value in network.parameters()) == 2_608_748


def test_submodules_have_the_reports_names(network):
    """A reader of the report finds its names in the code."""
    assert [name for name, _ in network.named_children()] == [
        'low_feat', 'high_feat', 'reduce_low', 'reduce_high', 'fuse', 'head', 'det_seg_cls_head']


def test_channels_and_size_come_from_the_card():
    """Another label set and another size give another tensor, with no constant in the way."""
    network = ReportNetwork(HeadLayout(3, 4, 5)).eval()
    with torch.inference_mode():
        prediction = network(torch.rand(1, 3, 96, 160))
    assert prediction.shape == (1, 5 + 3 + 4 + 5, 3 * 5)
    assert (prediction[:, :4] >= 0).all()


def test_prediction_is_the_last_map_flattened(network):
    """Channel by channel the tensor is the report's map; the distances are made non-negative."""
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        cells = network.maps(images)['det_seg_cls_head'].flatten(2)
        prediction = network(images)
    torch.testing.assert_close(prediction[:, 4:], cells[:, 4:])
    torch.testing.assert_close(prediction[:, :4], torch.nn.functional.softplus(cells[:, :4]))
