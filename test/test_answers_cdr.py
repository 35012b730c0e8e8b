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
"""Answers that are written without a message are what rosbags writes of one."""

from colour_weights import CARD
from hypothesis import given, strategies as st
from mtl_perception.bags import bag_message_builder, bag_types
from mtl_perception.messages import OUTPUT_TYPES
from mtl_perception.prediction import Detections, Prediction
import numpy as np
import pytest

side = st.floats(-1e6, 1e6, width=32)
box = st.tuples(st.tuples(side, side, side, side), st.floats(0, 1, width=32), st.integers(1, 2))
# A NUL ends a string on its way, and half a character cannot be sent.
text = st.text(st.characters(blacklist_categories=['Cs'], blacklist_characters='\0'), max_size=20)


def predicted(boxes, scores):
    """Return a prediction of boxes and of the picture's class."""
    return Prediction(Detections(
        np.array([corners for corners, _, _ in boxes], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in boxes], np.float32),
        np.array([index for _, _, index in boxes], np.int64)), None,
        np.array(scores, np.float32))


@pytest.mark.parametrize('class_id_format', ['name', 'index'])
@given(boxes=st.lists(box, max_size=5), frame_id=text, scores=st.permutations((0.1, 0.9)),
       sec=st.integers(-2**31, 2**31 - 1), nanosec=st.integers(0, 2**32 - 1))
def test_each_byte_is_where_rosbags_writes_it(class_id_format, boxes, frame_id, scores, sec,
                                              nanosec):
    """Of any number of boxes, under names of any length."""
    types, builder = bag_types(), bag_message_builder(CARD, class_id_format)
    header = builder.types.Header(
        stamp=types.types['builtin_interfaces/msg/Time'](sec, nanosec), frame_id=frame_id)
    seen = predicted(boxes, scores)
    found = dict(builder.serialized_answers(header, seen, types.serialize_cdr))
    assert found == {output: bytes(types.serialize_cdr(message, OUTPUT_TYPES[output]))
                     for output, message in builder.answers(header, seen)}
    assert set(found) == {'detections', 'classification', 'classification_scores'}
