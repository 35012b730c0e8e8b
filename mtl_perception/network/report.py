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
"""The network of the seed report: MobileNetV3-Small, one 16x16 grid, 76 channels."""

from typing import Dict

from mtl_perception.card import HeadLayout
from mtl_perception.network.prediction_tensor import flatten_levels, start_from_prior
import torch
from torch import nn
import torch.nn.functional as F
from torchvision.models import mobilenet_v3_small


class ReportNetwork(nn.Module):
    """
    Predict all three tasks from one fused map at stride 32, as the report describes.

    :param layout: the channels of the prediction tensor
    """

    strides = (32,)

    def __init__(self, layout: HeadLayout):
        super().__init__()
        self.layout = layout
        features = mobilenet_v3_small(weights=None).features
        self.low_feat = nn.Sequential(*features[:4])
        self.high_feat = nn.Sequential(*features[4:])
        self.reduce_low = nn.Conv2d(24, 64, 1)
        self.reduce_high = nn.Conv2d(576, 64, 1)
        self.fuse = nn.Sequential(
            nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(inplace=True),
            nn.Conv2d(128, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU(inplace=True))
        self.head = nn.Sequential(
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True))
        self.det_seg_cls_head = nn.Conv2d(256, layout.channels, 1)
        self._start()

    def _start(self) -> None:
        """Initialise what is new; the report says nothing of it, and so it gets the best start."""
        for conv in (*self.fuse, *self.head):
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight, nonlinearity='relu')
                nn.init.zeros_(conv.bias)
        start_from_prior(self.det_seg_cls_head, self.layout)

    @property
    def trunk_layers(self) -> nn.Sequential:
        """Return torchvision's feature layers in their own order."""
        return nn.Sequential(*self.low_feat, *self.high_feat)

    def maps(self, images: torch.Tensor) -> Dict[str, torch.Tensor]:
        """
        Return every intermediate map that the report lists, by the report's name.

        :param images: normalised ``[B, 3, H, W]``, sides multiples of 32
        :return: ``low_feat`` ``[B, 24, H/8, W/8]``, ``high_feat`` ``[B, 576, H/32, W/32]``, and
            at the same ``H/32 x W/32`` ``low_pooled``, ``reduce_low``, ``reduce_high``, ``cat``,
            ``fuse``, ``head``, ``det_seg_cls_head``
        """
        low_feat = self.low_feat(images)
        high_feat = self.high_feat(low_feat)
        # The report's adaptive pooling, in a form that can be exported for any size.
        low_pooled = F.avg_pool2d(low_feat, 4)
        reduce_low = self.reduce_low(low_pooled)
        reduce_high = self.reduce_high(high_feat)
        cat = torch.cat([reduce_low, reduce_high], dim=1)
        fuse = self.fuse(cat)
        head = self.head(fuse)
        return {'low_feat': low_feat, 'high_feat': high_feat, 'low_pooled': low_pooled,
                'reduce_low': reduce_low, 'reduce_high': reduce_high, 'cat': cat, 'fuse': fuse,
                'head': head, 'det_seg_cls_head': self.det_seg_cls_head(head)}

    def heads(self, images: torch.Tensor) -> Dict[str, torch.Tensor]:
        """
        Return what the report's three heads read from the last map.

        :param images: normalised ``[B, 3, H, W]``, sides multiples of 32
        :return: ``detection`` ``[B, 5 + D, H/32, W/32]``, ``segmentation_cells``
            ``[B, S, H/32, W/32]``, ``segmentation`` ``[B, S, H, W]``, ``classification_cells``
            ``[B, K, H/32, W/32]``, ``classification`` ``[B, K]``
        """
        cells = self.maps(images)['det_seg_cls_head']
        segmentation_cells = cells[:, self.layout.segmentation_channels]
        classification_cells = cells[:, self.layout.classification_channels]
        return {'detection': cells[:, :self.layout.detection_channels.stop],
                'segmentation_cells': segmentation_cells,
                'segmentation': F.interpolate(segmentation_cells, size=images.shape[-2:],
                                              mode='bilinear', align_corners=False),
                'classification_cells': classification_cells,
                'classification': F.adaptive_avg_pool2d(classification_cells, 1).flatten(1)}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """
        Return the prediction tensor.

        :param images: normalised ``[B, 3, H, W]``, sides multiples of 32
        :return: ``[B, C, N]`` as :class:`mtl_perception.card.HeadLayout` describes
        """
        return flatten_levels([self.maps(images)['det_seg_cls_head']])
