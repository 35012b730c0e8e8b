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
Draw one scene from ``(seed, index)``: place, objects, camera, light and sensor.

The same pair gives the same scene in any process and order; nothing else enters.
"""

from dataclasses import dataclass
from typing import Tuple

from mtl_perception.household.classes import ARRANGEMENTS, MATERIALS, OBJECT_CLASSES
from mtl_perception.household.objects import ASSETS, ASSETS_BY_NAME
from mtl_perception.household.places import PLACES_BY_NAME
from mtl_perception.household.placing import Laid, lay
from mtl_perception.household.splits import CameraRange, Split
import numpy as np

PRIMITIVES = ('box', 'cylinder', 'sphere', 'capsule')
_CAMERA_PATIENCE = 60
_CLEAR_VIEW = 0.3  # metres without furniture in front of the lens


@dataclass(frozen=True, eq=False)
class Camera:
    """
    Pose and lens.

    :param position: metres ``[3]``
    :param rotation: camera to world ``[3, 3]``; x right, y up, looks along -z
    :param fov: vertical field of view, degrees
    """

    position: np.ndarray
    rotation: np.ndarray
    fov: float


@dataclass(frozen=True, eq=False)
class Light:
    """
    The light of one picture; colours are linear RGB ``[3]``.

    :param key_position: of the main lamp, metres ``[3]``; it points at the scene's focus
    :param shadows: whether the main lamp casts shadows
    """

    key_position: np.ndarray
    key_colour: np.ndarray
    fill_position: np.ndarray
    fill_colour: np.ndarray
    ambient: np.ndarray
    shadows: bool


@dataclass(frozen=True, eq=False)
class Sensor:
    """
    What the camera does to the light.

    :param gain: exposure and white balance, factors for blue, green, red ``[3]``
    :param gamma: exponent on the values scaled to ``[0, 1]``
    :param blur: sigma of the defocus in pixels of a 512 pixel picture
    :param noise: sigma of the noise in grey levels
    :param noise_seed: of the noise pattern
    """

    gain: np.ndarray
    gamma: float
    blur: float
    noise: float
    noise_seed: int


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture before it is taken; ``tints`` and ``sizes`` go with ``objects``."""

    arrangement: str
    material: str
    objects: Tuple[Laid, ...]
    tints: Tuple[np.ndarray, ...]
    sizes: Tuple[np.ndarray, ...]
    focus: np.ndarray
    camera: Camera
    light: Light
    sensor: Sensor

    @property
    def place(self) -> str:
        """Return the name of the place, the label of the classification head."""
        return f'{self.arrangement}_{self.material}'


def draw_place(seed: int, index: int) -> Tuple[str, str]:
    """Return arrangement and material of one scene."""
    rng = np.random.default_rng([seed, index])
    return str(rng.choice(ARRANGEMENTS)), str(rng.choice(MATERIALS))


def draw_scene(index: int, split: Split, world, aspect: float = 1.0) -> Scene:
    """
    Draw scene ``index`` of a split.

    :param world: answers ``points(name)`` (vertices of an asset) and ``clear(arrangement,
        position, target)`` (metres of free sight from a camera)
    :param aspect: width over height of the picture
    """
    arrangement, material = draw_place(split.seed, index)
    rng = np.random.default_rng([split.seed, index, 1])
    place = PLACES_BY_NAME[arrangement]
    half = np.array(place.half_size)
    focus = np.append(
        np.array(place.centre) + rng.uniform(-0.45, 0.45, 2) * half, place.height)
    camera, reach = _draw_camera(rng, split.camera, arrangement, focus, world, aspect)
    objects, tints, sizes = _draw_objects(rng, split, place, focus, reach, world)
    return Scene(
        arrangement, material, objects, tints, sizes, focus, camera, _draw_light(rng, focus),
        _draw_sensor(rng))


def look_at(position, target, roll_degrees: float = 0.0) -> np.ndarray:
    """Return the camera-to-world rotation ``[3, 3]`` of a camera that looks at ``target``."""
    back = np.asarray(position) - target
    back = back / np.linalg.norm(back)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    roll = np.radians(roll_degrees)
    return np.column_stack([
        np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right, back])


def from_focus(focus, distance, azimuth_degrees, elevation_degrees) -> np.ndarray:
    """Return the point at a distance and two angles from ``focus``, metres ``[3]``."""
    azimuth, elevation = np.radians(azimuth_degrees), np.radians(elevation_degrees)
    return focus + distance * np.array([
        np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
        np.sin(elevation)])


def _draw_camera(rng, ranges: CameraRange, arrangement, focus, world, aspect):
    """Return a camera with a free view and the radius of what it sees at the focus."""
    for _ in range(_CAMERA_PATIENCE):
        elevation, fov = rng.uniform(*ranges.elevation), rng.uniform(*ranges.fov)
        distance, azimuth = rng.uniform(*ranges.distance), rng.uniform(*ranges.azimuth)
        reach = distance * np.tan(np.radians(fov / 2)) * min(1.0, aspect)
        target = focus + [*rng.uniform(-0.2, 0.2, 2) * reach, rng.uniform(0, 0.25) * reach]
        roll = rng.uniform(*ranges.roll)
        position = from_focus(target, distance, azimuth, elevation)
        rotation = look_at(position, target, roll)
        if elevation - fov / 2 > ranges.horizon:
            continue
        camera = Camera(position, rotation, fov)
        if world.clear(arrangement, camera, aspect) > min(_CLEAR_VIEW, 0.6 * distance):
            break
    return camera, reach


def _draw_objects(rng, split, place, focus, reach, world):
    """Return the objects with their colours and sizes."""
    clutter = rng.random() < 0.4
    count = int(rng.integers(5, 12)) if clutter else int(rng.integers(1, 7))
    count = 0 if rng.random() < 0.03 else count
    strangers = int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))
    names = _draw_assets(rng, split, count) + _draw_distractors(rng, strangers)
    names = [names[at] for at in _order(rng, names)]
    centre, half = np.array(place.centre), np.array(place.half_size)
    area = np.concatenate([centre - half, centre + half])
    radius = reach * (rng.uniform(0.45, 0.7) if clutter else rng.uniform(0.6, 1.0))
    spread = (focus[0], focus[1], max(radius, 0.1))
    laid, tints, sizes = [], [], []
    for name in names:
        asset = ASSETS_BY_NAME.get(name)
        size = np.zeros(3) if asset else rng.uniform(0.012, 0.05, 3)
        points = world.points(name) if asset else _primitive_points(name, size)
        found = lay(rng, name, asset, points, laid, area, spread, place.height,
                    may_stack=rng.random() < 0.3)
        tint = rng.uniform(0.55, 1.0, 3) if rng.random() < 0.2 else rng.uniform(0.88, 1.0, 3)
        if asset is None:
            tint = rng.uniform(0.02, 1.0, 3)
        if found:
            laid.append(found)
            tints.append(tint)
            sizes.append(size)
    return tuple(laid), tuple(tints), tuple(sizes)


def _order(rng, names):
    """Put what can hold things first, so that later objects find it."""
    order = rng.permutation(len(names))
    holds = [getattr(ASSETS_BY_NAME.get(names[at]), 'shape', '') == 'dish' for at in order]
    return [at for at, first in zip(order, holds) if first] + \
        [at for at, first in zip(order, holds) if not first]


def _draw_assets(rng, split: Split, count):
    """Draw variants, every class as likely as another, no model twice."""
    names = []
    for _ in range(count):
        label = rng.choice(OBJECT_CLASSES)
        mine = [asset for asset in ASSETS if asset.label == label]
        held_out = [asset.name for asset in mine if asset.held_out]
        seen = [asset.name for asset in mine if not asset.held_out]
        pool = held_out if split.held_out_variants and held_out else seen
        free = [name for name in pool if name not in names]
        if free:
            names.append(str(rng.choice(free)))
    return names


def _draw_distractors(rng, count):
    """Draw models and plain shapes that are no class."""
    models = [asset.name for asset in ASSETS if asset.label is None]
    pool = rng.permutation(models)[:count].tolist(), rng.permutation(PRIMITIVES)[:count].tolist()
    return [pool[int(rng.random() < 0.5)][at] for at in range(count)]


def _primitive_points(name, size):
    """Return points that span a plain shape about its centre, metres ``[N, 3]``."""
    if name == 'box':
        corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
        return corners * size
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) * size[0]
    half = {'cylinder': size[1], 'sphere': size[0], 'capsule': size[0] + size[1]}[name]
    return np.concatenate([np.column_stack([ring, np.full(24, z)]) for z in (-half, half)])


def _draw_light(rng, focus) -> Light:
    """Return lamps of random place, colour and strength."""
    warm, cool = np.array([1.0, 0.80, 0.58]), np.array([0.82, 0.91, 1.0])
    share = rng.random(2)
    colours = [warm + part * (cool - warm) for part in share]
    azimuth = rng.uniform(0, 360)
    return Light(
        key_position=from_focus(focus, rng.uniform(1.4, 2.2), azimuth, rng.uniform(30, 85)),
        key_colour=colours[0] * rng.uniform(0.25, 0.65),
        fill_position=from_focus(focus, 2.2, azimuth + rng.uniform(90, 270),
                                 rng.uniform(30, 80)),
        fill_colour=colours[1] * rng.uniform(0.05, 0.25),
        ambient=colours[1] * rng.uniform(0.25, 0.5),
        shadows=bool(rng.random() < 0.5))


def _draw_sensor(rng) -> Sensor:
    """Return exposure, white balance, defocus and noise of one picture."""
    return Sensor(
        gain=rng.uniform(0.8, 1.35) * rng.uniform(0.93, 1.07, 3),
        gamma=rng.uniform(0.85, 1.15),
        blur=rng.uniform(0.3, 1.1) if rng.random() < 0.4 else 0.0,
        noise=rng.uniform(0.0, 6.0),
        noise_seed=int(rng.integers(2 ** 31)))
