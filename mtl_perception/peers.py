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
What a user would run otherwise, on the same pictures: for speed only, all weights are random.

Each peer takes a BGR picture and returns boxes, scores, class ids, a mask of the picture's size
and an image class, through the pre- and postprocessing that its authors give it.
"""

import io
from typing import Callable, NamedTuple, Tuple
import warnings

import cv2
from mtl_perception.card import HeadLayout
from mtl_perception.config import InferenceSettings
from mtl_perception.network.report import ReportNetwork
from mtl_perception.postprocess import cell_centres, ltrb_to_xyxy
import numpy as np
import onnxruntime
import torch
from torch import nn
from torchvision.models import mobilenet_v3_small
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.segmentation import lraspp_mobilenet_v3_large
from torchvision.ops import batched_nms

SEED = 0
SETTINGS = InferenceSettings()
MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
# The sizes of torchvision's own transforms for these weights: ssdlite resizes inside.
SEGMENTATION_SIDE = 520
CLASSIFICATION_SIDES = (256, 224)
REPORT_SIDE = 512
REPORT_STRIDE = 32
OPSET = 17
ERRORS_ONLY = 3


class Answer(NamedTuple):
    """All that a peer says about a picture."""

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    mask: np.ndarray
    image_class: int


Peer = Callable[[np.ndarray], Answer]


def _normalised(image: np.ndarray) -> torch.Tensor:
    """Return float32 ``[1, 3, H, W]`` of a BGR picture."""
    planes = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1).float()
    return ((planes - MEAN) / STD)[None]


class ReportPipeline:
    """
    The report's network in eager torch as the report runs it.

    It scales the 21 mask logits of 16x16 cells to 512x512, takes the best, and suppresses boxes.

    :param layout: the channels of its last map
    """

    def __init__(self, layout: HeadLayout):
        """Make the network with random weights."""
        torch.manual_seed(SEED)
        self._network = ReportNetwork(layout).eval()
        centres, _ = cell_centres(REPORT_SIDE, REPORT_SIDE, (REPORT_STRIDE,))
        self._x, self._y = torch.from_numpy(centres.T)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Answer:
        """Answer for a BGR picture ``[H, W, 3]``."""
        height, width = image.shape[:2]
        heads = self._network.heads(_normalised(cv2.resize(image, (REPORT_SIDE, REPORT_SIDE))))
        mask = heads['segmentation'].argmax(dim=1)[0].to(torch.uint8).numpy()
        cells = heads['detection'][0].flatten(1)
        scores, classes = (cells[4].sigmoid() * cells[5:].sigmoid()).max(dim=0)
        boxes = torch.stack(ltrb_to_xyxy(
            self._x, self._y, REPORT_STRIDE, *nn.functional.softplus(cells[:4])), dim=1)
        boxes = boxes * (boxes.new_tensor([width, height, width, height]) / REPORT_SIDE)
        sure = scores >= SETTINGS.score_threshold
        boxes, scores, classes = boxes[sure], scores[sure], classes[sure]
        kept = batched_nms(boxes, scores, classes, SETTINGS.nms_iou_threshold)
        return Answer(boxes[kept].numpy(), scores[kept].numpy(), classes[kept].numpy(),
                      cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST),
                      int(heads['classification'].argmax()))


class _Detector(nn.Module):
    """Torchvision's SSDlite; a picture in, the three arrays of its one answer out."""

    def __init__(self, classes: int):
        super().__init__()
        # Random scores of over 0.001, SSDlite's own threshold, would keep its NMS busy for
        # nothing: at ours it has nothing to do, which is in the peer's favour.
        self.model = ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=classes + 1,
            score_thresh=SETTINGS.score_threshold)

    def forward(self, image: torch.Tensor):
        """Return boxes, scores and class ids for ``[3, H, W]`` in 0 to 1."""
        found = self.model([image])[0]
        return found['boxes'], found['scores'], found['labels']


class _Segmenter(nn.Module):
    """Torchvision's LR-ASPP with the argmax behind it."""

    def __init__(self, classes: int):
        super().__init__()
        self.model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None,
                                               num_classes=classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return class ids, uint8 ``[1, H, W]``, for normalised ``[1, 3, H, W]``."""
        return self.model(images)['out'].argmax(dim=1).to(torch.uint8)


def _networks(layout: HeadLayout) -> Tuple[nn.Module, nn.Module, nn.Module]:
    torch.manual_seed(SEED)
    return (_Detector(layout.detection).eval(), _Segmenter(layout.segmentation).eval(),
            mobilenet_v3_small(weights=None, num_classes=layout.classification).eval())


def _network_inputs(image: np.ndarray) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what each of the three networks takes, as torchvision's transforms make it."""
    height, width = image.shape[:2]

    def resized(side: int) -> np.ndarray:
        scale = side / min(height, width)
        return cv2.resize(image, (round(width * scale), round(height * scale)))

    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    side, crop = CLASSIFICATION_SIDES
    small = resized(side)
    top, left = (small.shape[0] - crop) // 2, (small.shape[1] - crop) // 2
    return (torch.from_numpy(rgb).permute(2, 0, 1).float() / 255.0,
            _normalised(resized(SEGMENTATION_SIDE)),
            _normalised(small[top:top + crop, left:left + crop]))


def _answer(image: np.ndarray, found, mask: np.ndarray, place: np.ndarray) -> Answer:
    height, width = image.shape[:2]
    boxes, scores, class_ids = map(np.asarray, found)
    return Answer(boxes, scores, class_ids,
                  cv2.resize(mask[0], (width, height), interpolation=cv2.INTER_NEAREST),
                  int(place.argmax()))


def three_models_torch(layout: HeadLayout) -> Peer:
    """
    Return three single-task networks of torchvision, one after the other in eager torch.

    :param layout: how many classes each has
    """
    detect, segment, classify = _networks(layout)

    @torch.inference_mode()
    def answer(image: np.ndarray) -> Answer:
        for_boxes, for_mask, for_class = _network_inputs(image)
        return _answer(image, detect(for_boxes), segment(for_mask).numpy(),
                       classify(for_class).numpy())
    return answer


def _session(network: nn.Module, example: torch.Tensor, threads: int
             ) -> onnxruntime.InferenceSession:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(network, (example,), buffer, input_names=['image'], opset_version=OPSET,
                          dynamo=False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(buffer.getvalue(), options,
                                        providers=['CPUExecutionProvider'])


def three_models_onnx(layout: HeadLayout, image: np.ndarray, threads: int) -> Peer:
    """
    Return the same three networks in ONNX Runtime, exported for pictures of one size.

    :param layout: how many classes each has
    :param image: one of the pictures, BGR
    :param threads: of each session
    """
    sessions = [_session(network, example, threads)
                for network, example in zip(_networks(layout), _network_inputs(image))]

    def answer(image: np.ndarray) -> Answer:
        found, (mask,), (place,) = (
            session.run(None, {'image': value.numpy()})
            for session, value in zip(sessions, _network_inputs(image)))
        return _answer(image, found, mask, place)
    return answer
