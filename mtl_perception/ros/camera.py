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
"""The node ``camera``: pictures, a video, a bag or a video device, played as a camera."""

import argparse
from dataclasses import replace
import sys
from typing import Any, Mapping, Optional, Sequence

import cv2
from mtl_perception.data.sources import open_frames
from mtl_perception.frame import Frame
from mtl_perception.ros.conversions import image_data, TYPES
from mtl_perception.ros.image_input import image_topic, RELIABILITY_POLICIES
from mtl_perception.ros.parameters import Parameter
from mtl_perception.ros.process import RCLError, run_node
import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage

TRANSPORTS = {'raw': ('raw',), 'compressed': ('compressed',), 'both': ('raw', 'compressed')}
JPEG_QUALITY = 90
DEPTH = 5
LAST_FRAME_S = 1.0
LOG_PERIOD_S = 5.0
CANNOT_PLAY = 2

PARAMETERS = (
    Parameter('source', '', 'a picture, a folder of pictures, a video, a bag or /dev/videoN'),
    Parameter('topic', '', "which of a bag's image topics; not needed where it has one"),
    Parameter('rate', 10.0, 'frames a second', limits=(0.1, 1000.0)),
    Parameter('loop', True, 'start again at the end'),
    Parameter('wait_for', 0, 'start to play once so many subscribers listen', limits=(0, 100)),
    Parameter('image_transport', 'raw', 'publish image (raw), image/compressed or both',
              choices=tuple(TRANSPORTS)),
    Parameter('reliability', 'reliable', 'quality of service that is offered',
              choices=tuple(RELIABILITY_POLICIES)),
    Parameter('frame_id', 'camera_optical_frame', 'of frames that have none of their own'),
)


class CameraNode(Node):
    """
    Publishes the frames of a source on ``image`` and ``image/compressed``, stamped with now.

    :param defaults: parameter values by name, for those that ROS is not given
    :raises ConfigError: if a parameter has a wrong type or value
    :raises SourceError: if the source cannot be opened
    """

    def __init__(self, defaults: Mapping[str, Any]):
        """Open the source and start to play."""
        super().__init__('camera')
        values = {parameter.name: replace(parameter, default=defaults[parameter.name])
                  .declare(self) for parameter in PARAMETERS}
        self._source, self._topic = values['source'], values['topic']
        self._frame_id, self._loop = values['frame_id'], values['loop']
        self._wait_for = values['wait_for']
        qos = QoSProfile(depth=DEPTH, reliability=RELIABILITY_POLICIES[values['reliability']])
        classes = {'raw': TYPES.Image, 'compressed': CompressedImage}
        self._outputs = {kind: self.create_publisher(classes[kind], image_topic(self, kind), qos)
                         for kind in TRANSPORTS[values['image_transport']]}
        self._frames = open_frames(self._source, self._topic)
        self.create_timer(1.0 / values['rate'], self._play,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))
        topics = ', '.join(publisher.topic_name for publisher in self._outputs.values())
        self.get_logger().info(f'playing {self._source} at {values["rate"]:g} Hz on {topics}')

    def release(self) -> None:
        """Close the source."""
        self._frames = iter(())

    def _play(self) -> None:
        listeners = sum(publisher.get_subscription_count() for publisher in self._outputs.values())
        if listeners < self._wait_for:
            return
        self._wait_for = 0
        frame = next(self._frames, None)
        if frame is None and self._loop:
            self._frames = open_frames(self._source, self._topic)
            frame = next(self._frames, None)
        if frame is None:
            self._end()
            return
        try:
            self._publish(frame)
        except RCLError as error:
            self.get_logger().warning(f'frame not sent: {error}',
                                      throttle_duration_sec=LOG_PERIOD_S)

    def _publish(self, frame: Frame) -> None:
        header = TYPES.Header(stamp=self.get_clock().now().to_msg(),
                              frame_id=frame.frame_id or self._frame_id)
        if 'raw' in self._outputs:
            self._outputs['raw'].publish(TYPES.Image(
                header=header, height=frame.height, width=frame.width, encoding='bgr8',
                step=3 * frame.width, data=image_data(np.ascontiguousarray(frame.image))))
        if 'compressed' in self._outputs:
            _, data = cv2.imencode(
                '.jpg', frame.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            self._outputs['compressed'].publish(CompressedImage(
                header=header, format='bgr8; jpeg compressed bgr8', data=image_data(data)))

    def _end(self) -> None:
        for publisher in self._outputs.values():
            publisher.wait_for_all_acked(Duration(seconds=LAST_FRAME_S))
        self.context.shutdown()


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Play a source until it ends or the node is told to."""
    parser = argparse.ArgumentParser(
        prog='camera_node', formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description='Play pictures, a video, a bag or a video device as a camera.',
        epilog='Each of them is a ROS parameter too: camera_node --ros-args '
               '-p source:=tour.mp4 -p rate:=15 -r image:=/camera/image_raw')
    parser.set_defaults(loop=True)
    for parameter in PARAMETERS:
        name = parameter.name.replace('_', '-')
        if parameter.name == 'source':
            parser.add_argument(name, nargs='?', default='', help=parameter.description)
        elif parameter.name == 'loop':
            parser.add_argument('--no-loop', dest='loop', action='store_false',
                                default=argparse.SUPPRESS, help='end where the source ends')
        else:
            parser.add_argument(
                f'--{name}', type=type(parameter.default), default=parameter.default,
                choices=parameter.choices or None, help=parameter.description)
    return run_node(lambda arguments: CameraNode(vars(arguments)), parser, argv, CANNOT_PLAY)


if __name__ == '__main__':
    sys.exit(main())
