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
What an operator sets, as ROS parameters.

Every default is that of a frozen settings class, here or in ``config.py``; the table below only
adds what ROS wants to know. Values become settings as a whole or not at all.
"""

from dataclasses import dataclass, field, fields
import math
from typing import Any, Mapping, Optional, Sequence, Tuple

from mtl_perception.config import EngineConfig, ENGINES, InferenceSettings, PRECISIONS
from mtl_perception.errors import ConfigError
from mtl_perception.messages import CLASS_ID_FORMATS
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidTopicNameException, ParameterException
from rclpy.validate_topic_name import validate_topic_name


FIXED = 'fixed while configured'


@dataclass(frozen=True)
class Parameter:
    """
    One ROS parameter.

    :param name: as ROS knows it
    :param default: whose type is the parameter's; a tuple is of words
    :param description: for people
    :param limits: smallest and largest value of a number
    :param choices: all values of a word
    :param read_only: given at the start and never again
    :param constraint: what ROS cannot check, for people
    """

    name: str
    default: Any
    description: str
    limits: Optional[Tuple[float, float]] = None
    choices: Sequence[str] = ()
    read_only: bool = True
    constraint: str = ''

    @property
    def ros_default(self) -> Any:
        """Return the default as ROS takes it."""
        return list(self.default) if isinstance(self.default, tuple) else self.default

    @property
    def descriptor(self) -> ParameterDescriptor:
        """Return what ROS tools show and check."""
        constraints = ['one of: ' + ', '.join(self.choices)] if self.choices else []
        constraints += [self.constraint] if self.constraint else []
        descriptor = ParameterDescriptor(
            name=self.name, description=self.description, read_only=self.read_only,
            additional_constraints='; '.join(constraints),
            # So that 200 may be written for 200.0; check() holds other types off.
            dynamic_typing=isinstance(self.default, float))
        if self.limits and isinstance(self.default, float):
            low, high = self.limits
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.limits:
            low, high = self.limits
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return descriptor

    def declare(self, node) -> Any:
        """
        Declare it on ``node`` and return the value it got.

        :raises ConfigError: if the value given at the start has a wrong type or is out of range
        """
        try:
            return self.check(
                node.declare_parameter(self.name, self.ros_default, self.descriptor).value)
        except ParameterException as error:
            reason = str(error).rsplit(f': {self.name}', 1)[0]
            raise ConfigError(f'{self.name}: expected a value such as {self.ros_default!r}, '
                              f'got: {reason}') from None

    def check(self, value: Any) -> Any:
        """
        Return ``value`` in the default's type.

        :raises ConfigError: if it has another type, is out of its limits or none of its choices
        """
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if isinstance(self.default, tuple) and isinstance(value, (list, tuple)):
            value = tuple(value)
        if type(value) is not type(self.default):
            expected = f'a value such as {self.ros_default!r}'
        elif self.limits and not self.limits[0] <= value <= self.limits[1]:
            expected = f'a number from {self.limits[0]:g} to {self.limits[1]:g}'
        elif self.choices and value not in self.choices:
            expected = f'one of {", ".join(self.choices)}'
        else:
            return value
        raise ConfigError(f'{self.name}: expected {expected}, got {value!r}')


def _is_topic_name(name: Any) -> bool:
    try:
        return isinstance(name, str) and validate_topic_name(name)
    except InvalidTopicNameException:
        return False


@dataclass(frozen=True)
class StartSettings:
    """
    What is fixed while the node is configured.

    :param checkpoint: a name in weights/, or a path
    :param image_transport: ``raw`` or ``compressed``
    :param reliability: ``auto``, ``reliable`` or ``best_effort``
    :param autostart: configure and activate without being asked
    :param images: topic of each camera
    :raises ConfigError: if ``images`` are no topic names, or none, or one is there twice
    """

    checkpoint: str = 'household'
    images: Tuple[str, ...] = ('image',)
    image_transport: str = 'raw'
    reliability: str = 'auto'
    autostart: bool = True

    def __post_init__(self):
        """Check the names."""
        wrong = [name for name in self.images if not _is_topic_name(name)]
        if wrong or not self.images or len(set(self.images)) < len(self.images):
            raise ConfigError('images: expected names of different topics, one a camera, got '
                              f'{wrong or list(self.images)}')


@dataclass(frozen=True)
class StreamSettings:
    """
    What may change between two frames, beside the network's own settings.

    :param latency_budget_ms: from a frame's stamp to its predictions
    :param max_age_ms: a frame older than this when its turn comes, or when its answer is ready,
        is dropped; 0 is the budget when its turn comes and no limit to the answer, which is late
        then but not lost: a machine slower than the budget would say nothing at all
    :param class_id_format: ``name`` or ``index``
    :param image_timeout_s: silence that is reported
    """

    latency_budget_ms: float = 150.0
    max_age_ms: float = 0.0
    class_id_format: str = 'name'
    image_timeout_s: float = 2.0

    @property
    def effective_max_age_ms(self) -> float:
        """Return the age past which a frame is not begun."""
        return self.max_age_ms or self.latency_budget_ms

    @property
    def max_answer_age_ms(self) -> float:
        """Return the age past which an answer is not published."""
        return self.max_age_ms or math.inf


@dataclass(frozen=True)
class Settings:
    """All settings of the node, one consistent set."""

    start: StartSettings = field(default_factory=StartSettings)
    engine: EngineConfig = field(default_factory=EngineConfig)
    stream: StreamSettings = field(default_factory=StreamSettings)
    inference: InferenceSettings = field(default_factory=InferenceSettings)


def _row(owner: type, name: str, description: str, limits: Optional[Tuple[float, float]] = None,
         choices: Sequence[str] = ()) -> Tuple[type, Parameter]:
    constraint = FIXED if owner in (StartSettings, EngineConfig) else ''
    return owner, Parameter(name, getattr(owner, name), description, limits, choices,
                            read_only=False, constraint=constraint)


# Each with the settings class that it belongs to.
PARAMETERS = (
    _row(StartSettings, 'checkpoint', 'a name in weights/, or the path of a weights folder'),
    _row(EngineConfig, 'engine', 'what runs the network', choices=ENGINES),
    _row(EngineConfig, 'device', 'where it runs: auto, cpu, cuda or cuda:N'),
    _row(EngineConfig, 'precision',
         "auto is the CPU's fastest; float16 is TensorRT",
         choices=PRECISIONS),
    _row(EngineConfig, 'num_threads', 'CPU threads of the engine, 0 for all', (0, 1024)),
    _row(EngineConfig, 'require_device',
         'fail where engine, device or precision cannot be had; else warn and do without'),
    _row(StreamSettings, 'latency_budget_ms',
         "from a frame's stamp to its predictions, in ms; past it the diagnostics warn",
         (1.0, 60000.0)),
    _row(StreamSettings, 'max_age_ms',
         'a frame older when its turn comes or its answer is ready is dropped, in ms; '
         '0 takes the budget', (0.0, 86400000.0)),
    _row(InferenceSettings, 'score_threshold', 'boxes with a lower score are dropped',
         (0.0, 1.0)),
    _row(InferenceSettings, 'nms_iou_threshold',
         'of two boxes of one class that overlap by more, the better stays', (0.0, 1.0)),
    _row(InferenceSettings, 'max_detections', 'at most this many boxes a frame', (1, 1000)),
    _row(InferenceSettings, 'detection', 'publish boxes'),
    _row(InferenceSettings, 'segmentation', 'publish the mask'),
    _row(InferenceSettings, 'classification', 'publish the image class'),
    _row(StartSettings, 'images', 'topics of the cameras; of several, each has its own outputs'),
    _row(StartSettings, 'image_transport', 'subscribe image (raw) or image/compressed',
         choices=('raw', 'compressed')),
    _row(StartSettings, 'reliability',
         'of the subscription; auto is reliable where every publisher is',
         choices=('auto', 'reliable', 'best_effort')),
    _row(StreamSettings, 'class_id_format',
         'what class_id holds: the name, or the decimal id of label_info',
         choices=CLASS_ID_FORMATS),
    _row(StreamSettings, 'image_timeout_s', 'silence of the camera that is reported, in s',
         (0.1, 3600.0)),
    _row(StartSettings, 'autostart',
         'configure and activate at the start; false leaves that to a lifecycle manager'),
)


def _settings_of(values: Mapping[str, Any]) -> Settings:
    def build(owner: type) -> Any:
        return owner(**{parameter.name: parameter.check(values[parameter.name])
                        for its_owner, parameter in PARAMETERS if its_owner is owner})
    return Settings(**{part.name: build(part.default_factory) for part in fields(Settings)})


def declare_settings(node) -> Settings:
    """
    Declare the table's parameters on ``node`` and return the settings it starts with.

    :raises ConfigError: if a value given at the start has a wrong type or is out of range
    """
    return _settings_of({parameter.name: parameter.declare(node) for _, parameter in PARAMETERS})


def read_settings(node, changes: Sequence[Any] = ()) -> Settings:
    """
    Return the settings that ``node`` has, or would have after ``changes``.

    :param changes: rclpy parameters about to be set
    :raises ConfigError: if one has a wrong type or is out of range
    """
    values = {parameter.name: node.get_parameter(parameter.name).value
              for _, parameter in PARAMETERS}
    values.update({change.name: change.value for change in changes})
    return _settings_of(values)


def fixed_changes(before: Settings, after: Settings) -> Sequence[str]:
    """Return the names of the parameters that differ and are fixed while configured."""
    pairs = ((before.start, after.start), (before.engine, after.engine))
    return [name for old, new in pairs for name in vars(old)
            if getattr(old, name) != getattr(new, name)]


def parameters_help() -> str:
    """Return the table as text for ``--help``."""
    rows = []
    for _, item in PARAMETERS:
        notes = [', '.join(item.choices)] if item.choices else []
        notes += ['{:g} to {:g}'.format(*item.limits)] if item.limits else []
        notes += [item.constraint] if item.constraint else []
        note = f' ({"; ".join(notes)})' if notes else ''
        default = f"[{','.join(item.default)}]" if isinstance(item.default, tuple) \
            else str(item.default).lower()
        rows.append(f'  {item.name + ":=" + default:<26} {item.description}{note}')
    return '\n'.join(rows)
