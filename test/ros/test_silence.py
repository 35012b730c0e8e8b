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
"""What the node says of images that do not come: each cause has its own remedy, to be typed."""

from mtl_perception.ros.silence import (
    explain_mismatch, explain_silence, LARGE_DATA, Listener, Offer, TYPE_NAMES)
import pytest

RAW, JPEG = TYPE_NAMES['raw'], TYPE_NAMES['compressed']
RELIABLE = Offer(RAW, 'reliable', 'volatile', 5, '/front/camera')
BEST_EFFORT = Offer(RAW, 'best_effort')
COMPRESSED = Offer(JPEG, 'reliable')
STRING = Offer('std_msgs/msg/String', 'reliable')


def listener(transport='raw', reliability='best_effort', middleware='rmw_fastrtps_cpp'):
    """Return a listener as the node has it without remappings."""
    topic = '/image/compressed' if transport == 'compressed' else '/image'
    return Listener('image', topic, transport, reliability, middleware)


@pytest.mark.parametrize('ears, offers, topics, lost, said', [
    (listener(), [], {}, 0, ['no publisher on /image', 'start the camera']),
    (listener(), [], {'/front/image': [RAW], '/talk': [STRING.type_name]}, 0,
     ['topics of that type: /front/image;', '--ros-args -r image:=/front/image']),
    (listener(), [], {'/a': [RAW], '/b/image': [RAW], '/imag': [RAW], '/z/c': [RAW]}, 0,
     ['/imag, /b/image', '-r image:=/imag']),
    (listener(), [], {'/image/compressed': [JPEG], '/front': [RAW]}, 0,
     ['/image/compressed is there', '-p image_transport:=compressed']),
    (listener('compressed'), [], {'/image': [RAW]}, 0,
     ['/image is there', '-p image_transport:=raw']),
    (listener('compressed'), [], {'/front/image/compressed': [JPEG]}, 0,
     ['-r image:=/front/image']),
    (listener(), [COMPRESSED], {}, 0,
     ['-p image_transport:=compressed -r image/compressed:=/image']),
    (listener('compressed'), [RELIABLE], {}, 0,
     ['-p image_transport:=raw -r image:=/image/compressed']),
    (listener(), [STRING], {}, 0, [STRING.type_name, f'but {RAW} is expected', 'type -r image:=']),
    (listener(reliability='reliable'), [BEST_EFFORT], {}, 0,
     ['reliable is asked for', '-p reliability:=auto']),
    (listener(), [BEST_EFFORT], {}, 0,
     ['1 publisher on /image (best_effort sensor_msgs/msg/Image, volatile)', 'lost in transport',
      f"export FASTDDS_BUILTIN_TRANSPORTS='{LARGE_DATA}'", 'large_data:=true']),
    (listener(), [BEST_EFFORT], {}, 12, ['12 frames were lost in transport', 'export FASTDDS']),
    (listener(middleware='rmw_cyclonedds_cpp'), [BEST_EFFORT], {}, 0,
     ['sudo sysctl -w net.core.rmem_max=']),
    (listener(middleware='rmw_zenoh_cpp'), [BEST_EFFORT], {}, 0, ['probably lost in transport']),
    (listener(reliability='reliable'), [RELIABLE, RELIABLE], {}, 0,
     ['2 publishers on /image', 'volatile, depth 5, of /front/camera',
      'the camera does not send'])])
def test_silence_is_explained(ears, offers, topics, lost, said):
    """Each cause is named with what to type."""
    text = explain_silence(ears, offers, topics, lost)
    assert '\n' not in text
    for part in said:
        assert part in text


def test_what_can_be_heard_is_no_mismatch():
    """Best effort hears all of its type."""
    assert explain_mismatch(listener(), [RELIABLE, BEST_EFFORT]) == ''
    assert explain_mismatch(listener(reliability='reliable'), [RELIABLE]) == ''


def test_one_of_two_publishers_that_cannot_be_heard_is_named():
    """That images come does not hide that others do not."""
    text = explain_mismatch(listener(reliability='reliable'), [RELIABLE, BEST_EFFORT, STRING])
    assert '1 publisher on /image (best_effort' in text and '-p reliability:=auto' in text
    assert f'({STRING.reliability} {STRING.type_name}' in text
