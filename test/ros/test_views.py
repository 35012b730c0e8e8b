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
"""What rviz and Foxglove are told to show is what the node publishes."""

import json
from pathlib import Path
import re

from colour_weights import CARD, picture, save_colour_weights
from mtl_perception.frame import Frame
from mtl_perception.prediction import Prediction
from mtl_perception.ros import outputs
from mtl_perception.ros.conversions import TYPES
from node_client import perception
import numpy as np
import pytest
from rclpy.qos import QoSProfile
import yaml

CONFIG = Path(__file__).resolve().parents[2] / 'config'
IMAGE = 'sensor_msgs/msg/Image'
CAMERA = {'perception.rviz': '/image', 'perception.foxglove.json': '/camera/image_raw'}


def layout():
    """Return Foxglove's layout."""
    return json.loads((CONFIG / 'perception.foxglove.json').read_text())


def rviz_topics():
    """Return what each Image display of rviz subscribes."""
    manager = yaml.safe_load((CONFIG / 'perception.rviz').read_text())['Visualization Manager']
    return [display['Topic']['Value'] for display in manager['Displays']
            if display['Class'] == 'rviz_default_plugins/Image' and display['Enabled']]


def foxglove_topics():
    """Return the topics of Foxglove's Image panels."""
    return [panel['imageMode']['imageTopic'] for panel in layout()['configById'].values()
            if 'imageMode' in panel]


def leaves(node):
    """Return the panels of a part of Foxglove's window."""
    return [node] if isinstance(node, str) else leaves(node['first']) + leaves(node['second'])


@pytest.fixture(scope='module')
def running(client, tmp_path_factory):
    """Return the topics of a real node that answers a real camera, and its diagnostics' keys."""
    weights = save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours').folder
    with perception(f'checkpoint:={weights}') as process:
        process.wait_for_output('listening')
        client.listen('perception')
        camera = client.camera('/image')
        client.warm_up(camera)
        client.ask(camera, picture())
        client.wait_until(lambda: 'end_to_end_p50_ms' in client.diagnostics()[2])
        values = client.diagnostics()[2]
        topics = dict(client._node.get_publisher_names_and_types_by_node('perception', '/'))
        client.stop_listening()
        client.remove(camera)
        yield topics, values


@pytest.mark.parametrize('file_name, shown', [
    ('perception.rviz', rviz_topics()), ('perception.foxglove.json', foxglove_topics())])
def test_every_image_that_is_shown_is_published(running, file_name, shown):
    """Camera, overlay, mask and legend, no more and no less."""
    topics, _ = running
    assert sorted(shown) == sorted([CAMERA[file_name], '/perception/legend',
                                    '/perception/overlay', '/perception/segmentation_color'])
    assert all(topics[topic] == [IMAGE] for topic in shown if topic != CAMERA[file_name])


def test_foxglove_names_fields_that_there_are(running):
    """Topics of the other panels, and what they take from the diagnostics."""
    topics, values = running
    panels = layout()['configById']
    assert topics['/perception/detections'] == ['vision_msgs/msg/Detection2DArray']
    assert topics['/perception/classification_scores'] == ['vision_msgs/msg/Classification']
    assert {panel['topicPath'].partition('.')[0] for panel in panels.values()
            if 'topicPath' in panel} == {'/perception/detections',
                                         '/perception/classification_scores'}
    plotted = [re.fullmatch(
        r'/diagnostics\.status\[:\]\{name=="perception: pipeline"\}'
        r'\.values\[:\]\{key=="(\w+)"\}\.value', path['value']).group(1)
        for path in panels['Plot!latency']['paths']]
    assert len(plotted) == 3 and set(plotted) <= set(values)
    assert panels['DiagnosticStatusPanel!pipeline']['topicToRender'] == '/diagnostics'
    assert topics['/diagnostics'] == ['diagnostic_msgs/msg/DiagnosticArray']


def test_foxglove_shows_each_panel_once():
    """No panel is configured and not shown, or shown and not configured."""
    assert sorted(leaves(layout()['layout'])) == sorted(layout()['configById'])


def test_nothing_is_drawn_for_nobody(client, monkeypatch):
    """Overlay and coloured mask cost time only while somebody subscribes."""
    drawn = []
    for name in ('draw_overlay', 'colorize_mask'):
        real = getattr(outputs, name)
        monkeypatch.setattr(outputs, name, lambda *arguments, name=name, real=real: (
            drawn.append(name) or real(*arguments)))
    frame = Frame(picture())
    seen = Prediction(mask=np.zeros((frame.height, frame.width), np.uint8))
    publishers = outputs.Outputs(client._node, '/draws', CARD)
    publishers.answers(TYPES.Header(), frame, seen, 'name', 1.0)
    assert drawn == []
    for name, drawer in (('overlay', 'draw_overlay'), ('segmentation_color', 'colorize_mask')):
        client.subscribe(name, TYPES.Image, f'/draws/{name}', QoSProfile(depth=1))
        client.spin(0.5)
        publishers.answers(TYPES.Header(), frame, seen, 'name', 1.0)
        client.stop_listening(name)
        client.spin(0.5)
        publishers.answers(TYPES.Header(), frame, seen, 'name', 1.0)
        assert drawn == [drawer]
        drawn.clear()
    publishers.destroy()
