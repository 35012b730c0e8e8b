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
Predictions as ROS messages and back, with no ROS needed.

The message classes come from outside: those of a ROS installation in the node, those of rosbags
in a bag. Both take every field by keyword, so one builder serves both and a bag holds what the
live node would have published.
"""

from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Callable, Iterator, List, Mapping, Optional, Tuple

from mtl_perception.answers_cdr import serialize_classification, serialize_detections
from mtl_perception.card import Card
from mtl_perception.errors import ConfigError
from mtl_perception.prediction import Detections, Prediction
import numpy as np

CLASS_ID_FORMATS = ('name', 'index')

MESSAGE_TYPES = {
    'BoundingBox2D': 'vision_msgs/msg/BoundingBox2D',
    'Classification': 'vision_msgs/msg/Classification',
    'Detection2D': 'vision_msgs/msg/Detection2D',
    'Detection2DArray': 'vision_msgs/msg/Detection2DArray',
    'Header': 'std_msgs/msg/Header',
    'Image': 'sensor_msgs/msg/Image',
    'LabelInfo': 'vision_msgs/msg/LabelInfo',
    'ObjectHypothesis': 'vision_msgs/msg/ObjectHypothesis',
    'ObjectHypothesisWithPose': 'vision_msgs/msg/ObjectHypothesisWithPose',
    'Point': 'geometry_msgs/msg/Point',
    'Point2D': 'vision_msgs/msg/Point2D',
    'Pose': 'geometry_msgs/msg/Pose',
    'Pose2D': 'vision_msgs/msg/Pose2D',
    'PoseWithCovariance': 'geometry_msgs/msg/PoseWithCovariance',
    'Quaternion': 'geometry_msgs/msg/Quaternion',
    'String': 'std_msgs/msg/String',
    'VisionClass': 'vision_msgs/msg/VisionClass',
}

OUTPUT_TYPES = {
    'detections': MESSAGE_TYPES['Detection2DArray'],
    'segmentation': MESSAGE_TYPES['Image'],
    'classification': MESSAGE_TYPES['String'],
    'classification_scores': MESSAGE_TYPES['Classification'],
}


def message_namespace(get_class: Callable[[str], type]) -> SimpleNamespace:
    """
    Return the message classes that the builder needs, by their short names.

    :param get_class: returns the class of a type named like ``std_msgs/msg/Header``
    """
    return SimpleNamespace(**{name: get_class(full) for name, full in MESSAGE_TYPES.items()})


@dataclass(frozen=True)
class MessageBuilder:
    """
    Turns the parts of a prediction into messages that carry the input's header unchanged.

    :param types: namespace of message classes with the names of ``MESSAGE_TYPES``
    :param image_data: turns a contiguous uint8 array into what an Image's ``data`` takes
    :param card: of the weights that predicted
    :param class_id_format: ``name``, or ``index`` for decimal ids: 1, 2, ... of the boxes as in
        the mask, 0, 1, ... of the image classes
    :raises ConfigError: if the format is none of these
    """

    types: Any
    image_data: Callable[[np.ndarray], Any]
    card: Card
    class_id_format: str = 'name'

    def __post_init__(self):
        """Check the format."""
        if self.class_id_format not in CLASS_ID_FORMATS:
            raise ConfigError(f'class_id_format: expected one of {", ".join(CLASS_ID_FORMATS)}, '
                              f'got {self.class_id_format!r}')

    def _class_id(self, index: int, name: str) -> str:
        return name if self.class_id_format == 'name' else str(index)

    @cached_property
    def _box_class_ids(self) -> List[str]:
        return [self._class_id(index, name)
                for index, name in enumerate(self.card.classes.detection, 1)]

    @cached_property
    def _image_class_ids(self) -> List[str]:
        return [self._class_id(index, name)
                for index, name in enumerate(self.card.classes.classification)]

    @cached_property
    def _no_pose(self):
        types = self.types
        return types.PoseWithCovariance(
            pose=types.Pose(position=types.Point(x=0.0, y=0.0, z=0.0),
                            orientation=types.Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)),
            covariance=np.zeros(36))

    def detections(self, header, detections: Detections):
        """Return a ``Detection2DArray`` of boxes in source pixels, best score first."""
        return self.types.Detection2DArray(header=header, detections=[
            self._detection(header, *box, score, self._box_class_ids[class_id - 1])
            for box, score, class_id in zip(
                detections.boxes.tolist(), detections.scores.tolist(),
                detections.class_ids.tolist())])

    def _detection(self, header, left: float, top: float, right: float, bottom: float,
                   score: float, class_id: str):
        types = self.types
        hypothesis = types.ObjectHypothesis(class_id=class_id, score=score)
        middle = types.Point2D(x=(left + right) / 2, y=(top + bottom) / 2)
        return types.Detection2D(
            header=header, id='',
            results=[types.ObjectHypothesisWithPose(hypothesis=hypothesis, pose=self._no_pose)],
            bbox=types.BoundingBox2D(center=types.Pose2D(position=middle, theta=0.0),
                                     size_x=right - left, size_y=bottom - top))

    def serialized_detections(self, header, detections: Detections) -> bytes:
        """Return the bytes of ``detections``, much faster."""
        return serialize_detections(header, detections, self._box_class_ids)

    def image(self, header, picture: np.ndarray, encoding: str):
        """
        Return an ``Image`` of a uint8 array ``[H, W]`` or ``[H, W, channels]``.

        :param encoding: ROS name of the array's meaning, such as ``mono8`` or ``bgr8``
        """
        picture = np.ascontiguousarray(picture)
        height, width = picture.shape[:2]
        return self.types.Image(
            header=header, height=height, width=width, encoding=encoding, is_bigendian=0,
            step=picture.nbytes // height, data=self.image_data(picture))

    def segmentation(self, header, mask: np.ndarray):
        """Return the ``mono8`` ``Image`` of a uint8 mask ``[H, W]`` of class ids."""
        return self.image(header, mask, 'mono8')

    def classification(self, probabilities: np.ndarray):
        """Return a ``String`` with the name of the most probable image class."""
        names = self.card.classes.classification
        return self.types.String(data=names[int(probabilities.argmax())])

    def classification_scores(self, header, probabilities: np.ndarray):
        """Return a ``Classification`` of all image classes, best first."""
        return self.types.Classification(header=header, results=[
            self.types.ObjectHypothesis(class_id=class_id, score=score)
            for class_id, score in self._best_first(probabilities)])

    def serialized_classification_scores(self, header, probabilities: np.ndarray) -> bytes:
        """Return the bytes of ``classification_scores``, much faster."""
        return serialize_classification(header, self._best_first(probabilities))

    def _best_first(self, probabilities: np.ndarray) -> Iterator[Tuple[str, float]]:
        ids, scores = self._image_class_ids, probabilities.tolist()
        return ((ids[index], scores[index])
                for index in np.argsort(-probabilities, kind='stable').tolist())

    def answers(self, header, prediction: Prediction) -> Iterator[Tuple[str, Any]]:
        """Yield the messages of a prediction, each with its output's name in ``OUTPUT_TYPES``."""
        if prediction.detections is not None:
            yield 'detections', self.detections(header, prediction.detections)
        if prediction.mask is not None:
            yield 'segmentation', self.segmentation(header, prediction.mask)
        if prediction.class_probabilities is not None:
            probabilities = prediction.class_probabilities
            yield 'classification', self.classification(probabilities)
            yield 'classification_scores', self.classification_scores(header, probabilities)

    def serialized_answers(self, header, prediction: Prediction,
                           serialize: Callable[[Any, str], bytes]
                           ) -> Iterator[Tuple[str, bytes]]:
        """
        Yield the bytes of the same messages.

        :param serialize: is given a message and the name of its type
        """
        if prediction.detections is not None:
            yield 'detections', self.serialized_detections(header, prediction.detections)
        if prediction.mask is not None:
            yield 'segmentation', serialize(self.segmentation(header, prediction.mask),
                                            OUTPUT_TYPES['segmentation'])
        if prediction.class_probabilities is not None:
            probabilities = prediction.class_probabilities
            yield 'classification', serialize(self.classification(probabilities),
                                              OUTPUT_TYPES['classification'])
            yield ('classification_scores',
                   self.serialized_classification_scores(header, probabilities))

    def _label_info(self, header, class_map: Mapping[int, str], threshold: float):
        return self.types.LabelInfo(
            header=header, threshold=threshold,
            class_map=[self.types.VisionClass(class_id=index, class_name=name)
                       for index, name in class_map.items()])

    def detection_labels(self, header, threshold: float):
        """Return the ``LabelInfo`` of the boxes: ids 1, 2, ... and the score threshold."""
        return self._label_info(header, dict(enumerate(self.card.classes.detection, 1)),
                                threshold)

    def segmentation_labels(self, header):
        """Return the ``LabelInfo`` of the mask: ids 0, 1, ..., the first the background."""
        return self._label_info(header, dict(enumerate(self.card.classes.segmentation)), 0.0)

    def classification_labels(self, header):
        """Return the ``LabelInfo`` of the image classes: ids 0, 1, ...."""
        return self._label_info(header, dict(enumerate(self.card.classes.classification)), 0.0)


def _index(class_id: str, names, first: int) -> int:
    return int(class_id) if class_id.isdecimal() else names.index(class_id) + first


def read_detections(message, card: Card) -> Detections:
    """
    Return the boxes of a ``Detection2DArray`` that a ``MessageBuilder`` with ``card`` built.

    :raises ValueError: if the card has no such class
    """
    items = message.detections
    boxes = np.array([[d.bbox.center.position.x - d.bbox.size_x / 2,
                       d.bbox.center.position.y - d.bbox.size_y / 2,
                       d.bbox.center.position.x + d.bbox.size_x / 2,
                       d.bbox.center.position.y + d.bbox.size_y / 2] for d in items],
                     dtype=np.float32).reshape(-1, 4)
    best = [d.results[0].hypothesis for d in items]
    return Detections(
        boxes=boxes, scores=np.array([h.score for h in best], dtype=np.float32),
        class_ids=np.array([_index(h.class_id, card.classes.detection, 1) for h in best],
                           dtype=np.int64))


def read_prediction(card: Card, detections=None, segmentation=None,
                    classification_scores=None) -> Prediction:
    """
    Return the prediction that the messages of one frame carry; None where there is no message.

    :param detections: ``Detection2DArray``
    :param segmentation: ``mono8`` ``Image``
    :param classification_scores: ``Classification``
    :raises ValueError: if the card has no such class
    """
    boxes: Optional[Detections] = None
    mask = probabilities = None
    if detections is not None:
        boxes = read_detections(detections, card)
    if segmentation is not None:
        mask = np.frombuffer(segmentation.data, dtype=np.uint8).reshape(
            segmentation.height, segmentation.step)[:, :segmentation.width]
    if classification_scores is not None:
        names = card.classes.classification
        probabilities = np.zeros(len(names), dtype=np.float32)
        for hypothesis in classification_scores.results:
            probabilities[_index(hypothesis.class_id, names, 0)] = hypothesis.score
    return Prediction(detections=boxes, mask=mask, class_probabilities=probabilities)
