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
"""The parameter table, its file and the settings agree."""

from dataclasses import fields
from pathlib import Path

from mtl_perception.config import EngineConfig, InferenceSettings
from mtl_perception.errors import ConfigError
from mtl_perception.ros.parameters import (
    declare_settings, FIXED, fixed_changes, Parameter, PARAMETERS, parameters_help,
    read_settings, Settings, StartSettings, StreamSettings)
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
import yaml

FILE = Path(__file__).parents[2] / 'config' / 'perception.yaml'


@pytest.fixture
def node(client):
    """Return a node without parameters."""
    bare = Node('bare', start_parameter_services=False)
    yield bare
    bare.destroy_node()


def test_every_setting_is_a_parameter():
    """No setting is out of an operator's reach, none is there twice."""
    names = [parameter.name for _, parameter in PARAMETERS]
    wanted = [item.name for owner in (StartSettings, EngineConfig, StreamSettings,
                                      InferenceSettings) for item in fields(owner)]
    assert sorted(names) == sorted(wanted)


def test_the_file_holds_all_defaults_and_a_comment_for_each():
    """What a user copies is what the node does."""
    text = FILE.read_text()
    values = yaml.safe_load(text)['/**']['ros__parameters']
    assert values == {parameter.name: parameter.ros_default for _, parameter in PARAMETERS}
    assert all(type(values[p.name]) is type(p.ros_default) for _, p in PARAMETERS)
    lines = text.splitlines()
    for name in values:
        row = next(index for index, line in enumerate(lines)
                   if line.strip().startswith(f'{name}:'))
        assert lines[row - 1].strip().startswith('# '), name
        fixed = next(p.constraint == FIXED for _, p in PARAMETERS if p.name == name)
        comment = [line for line in lines[:row] if line.strip()]
        block = []
        while comment and comment[-1].strip().startswith('#'):
            block.insert(0, comment.pop())
        assert ('Fixed.' in ' '.join(block)) == fixed, name


def test_defaults_become_the_default_settings(node):
    """Nothing given is nothing changed."""
    assert declare_settings(node) == Settings() == read_settings(node)


def test_changes_are_seen_without_being_made(node):
    """A check has no side effect."""
    declare_settings(node)
    change = RosParameter('latency_budget_ms', value=80)
    assert read_settings(node, [change]).stream == StreamSettings(latency_budget_ms=80.0)
    assert read_settings(node) == Settings()


def test_the_budget_is_the_greatest_age_unless_one_is_given():
    """0 stands for the budget."""
    assert StreamSettings(latency_budget_ms=80.0).effective_max_age_ms == 80.0
    assert StreamSettings(max_age_ms=20.0).effective_max_age_ms == 20.0


@pytest.mark.parametrize('parameter, value, expected', [
    (Parameter('a', 1.0, '', (0.0, 5.0)), 5, 5.0),
    (Parameter('a', 1.0, '', (0.0, 5.0)), 0.0, 0.0),
    (Parameter('a', 'x', '', choices=('x', 'y')), 'y', 'y'),
    (Parameter('a', True, ''), False, False),
    (Parameter('a', ('x',), ''), ['y', 'z'], ('y', 'z'))])
def test_good_values_pass(parameter, value, expected):
    """A whole number becomes the decimal one that is meant."""
    result = parameter.check(value)
    assert result == expected and type(result) is type(expected)


@pytest.mark.parametrize('parameter, value, said', [
    (Parameter('a', 1.0, '', (0.0, 5.0)), 6, 'from 0 to 5'),
    (Parameter('a', 1.0, '', (0.0, 5.0)), float('nan'), 'from 0 to 5'),
    (Parameter('a', 1.0, ''), True, 'such as 1.0'),
    (Parameter('a', 1.0, ''), None, 'such as 1.0'),
    (Parameter('a', 1, ''), 1.5, 'such as 1'),
    (Parameter('a', 1, ''), True, 'such as 1'),
    (Parameter('a', ('x',), ''), 'x', r'such as \[.x.\]'),
    (Parameter('a', 'x', '', choices=('x', 'y')), 'z', 'one of x, y')])
def test_bad_values_are_refused(parameter, value, said):
    """The error says what is expected and what came."""
    with pytest.raises(ConfigError, match=f'a: expected .*{said}, got {value!r}'):
        parameter.check(value)


@pytest.mark.parametrize('images', [(), ('',), ('no topic',), ('a', 'b', 'a'), (b'a',), ('2/a',)])
def test_images_are_different_topics(images):
    """Each camera is there once, under a name that a topic can have."""
    with pytest.raises(ConfigError, match='images: expected') as caught:
        StartSettings(images=images)
    assert '\n' not in str(caught.value)


def test_what_is_fixed_while_configured_is_known():
    """The rest may change between two frames."""
    other = Settings(start=StartSettings(checkpoint='mine', autostart=False),
                     engine=EngineConfig(device='cpu'),
                     stream=StreamSettings(max_age_ms=5.0))
    assert fixed_changes(Settings(), other) == ['checkpoint', 'autostart', 'device']
    fixed = {p.name for _, p in PARAMETERS if p.constraint == FIXED}
    assert fixed == {item.name for owner in (StartSettings, EngineConfig)
                     for item in fields(owner)}


def test_ros_tools_see_range_and_kind():
    """``ros2 param describe`` has something to say on every parameter."""
    for _, parameter in PARAMETERS:
        descriptor = parameter.descriptor
        assert descriptor.description
        assert descriptor.read_only == parameter.read_only
        assert parameter.constraint in descriptor.additional_constraints
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        assert [(item.from_value, item.to_value) for item in ranges] == (
            [parameter.limits] if parameter.limits else [])


def test_help_has_a_row_for_each():
    """The table of ``--help`` is whole."""
    rows = parameters_help().splitlines()
    assert len(rows) == len(PARAMETERS) and max(map(len, rows)) < 150
