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
"""The node's output topics."""

from typing import Any, Iterator, List, Tuple

from mtl_perception.card import Card
from mtl_perception.frame import Frame
from mtl_perception.messages import CLASS_ID_FORMATS, OUTPUT_TYPES
from mtl_perception.overlay import colorize_mask, draw_legend, draw_overlay
from mtl_perception.prediction import Prediction
from mtl_perception.ros.conversions import kept_message_builder, ros_message_builder, TYPES
from rclpy.qos import DurabilityPolicy, QoSProfile

# A reliable writer keeps this many for a reader that is slow for a moment.
DEPTH = 10


class Outputs:
    """
    Publishers of everything that is said about one camera's frames.

    :param node: that publishes
    :param name: under which the topics are
    :param card: of the weights in use
    """

    def __init__(self, node, name: str, card: Card):
        """Create all publishers."""
        self._node = node
        self._card = card
        self._builders = {name: kept_message_builder(card, name) for name in CLASS_ID_FORMATS}

        def publisher(message_type: type, output: str, latched: bool = False):
            durability = DurabilityPolicy.TRANSIENT_LOCAL if latched \
                else DurabilityPolicy.VOLATILE
            return node.create_publisher(
                message_type, f'{name}/{output}',
                QoSProfile(depth=1 if latched else DEPTH, durability=durability))

        self._answered = {output: publisher(getattr(TYPES, full_name.rsplit('/', 1)[1]), output)
                          for output, full_name in OUTPUT_TYPES.items()}
        self._color = publisher(TYPES.Image, 'segmentation_color')
        self._overlay = publisher(TYPES.Image, 'overlay')
        self._legend = publisher(TYPES.Image, 'legend', latched=True)
        self._labels = [publisher(TYPES.LabelInfo, f'{head}/label_info', latched=True)
                        for head in ('detections', 'segmentation', 'classification')]

    def publish_labels(self, score_threshold: float) -> None:
        """Tell late and present listeners what the ids mean."""
        builder = ros_message_builder(self._card, 'index')
        header = TYPES.Header(stamp=self._node.get_clock().now().to_msg())
        messages = (builder.detection_labels(header, score_threshold),
                    builder.segmentation_labels(header), builder.classification_labels(header))
        for publisher, message in zip(self._labels, messages):
            publisher.publish(message)
        self._legend.publish(builder.image(header, draw_legend(self._card), 'bgr8'))

    def answers(self, header, frame: Frame, prediction: Prediction, class_id_format: str,
                latency_ms: float) -> List[Tuple[Any, Any]]:
        """
        Return one message for each output that the prediction has an answer for.

        All at once, so that a frame is answered on every output or on none.

        :param header: of the input message, passed on unchanged
        :param frame: what was looked at
        :param prediction: what was seen
        :param class_id_format: ``name`` or ``index``
        :param latency_ms: from the frame's stamp to its prediction, drawn into the overlay
        :return: (publisher, message) pairs for ``publish``, good until the next frame's
        """
        return list(self._answers(header, frame, prediction, class_id_format, latency_ms))

    @staticmethod
    def publish(answers: List[Tuple[Any, Any]]) -> None:
        """Publish what ``answers`` returned."""
        for publisher, message in answers:
            publisher.publish(message)

    def _answers(self, header, frame: Frame, prediction: Prediction, class_id_format: str,
                 latency_ms: float) -> Iterator[tuple]:
        builder = self._builders[class_id_format]
        for output, message in builder.answers(header, prediction):
            yield self._answered[output], message
        if prediction.mask is not None and self._color.get_subscription_count():
            yield self._color, builder.image(header, colorize_mask(prediction.mask), 'rgb8')
        if self._overlay.get_subscription_count():
            picture = draw_overlay(frame, prediction, self._card, latency_ms)
            yield self._overlay, builder.image(header, picture, 'bgr8')

    def destroy(self) -> None:
        """Destroy all publishers."""
        for publisher in (*self._answered.values(), self._color, self._overlay,
                          self._legend, *self._labels):
            self._node.destroy_publisher(publisher)
