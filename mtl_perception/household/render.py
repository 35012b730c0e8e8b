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
"""Take the picture of a scene, with the truth about every pixel."""

from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

import cv2
from mtl_perception.errors import DeviceError
from mtl_perception.household.classes import ARRANGEMENTS, OBJECT_CLASSES
from mtl_perception.household.objects import ASSETS
from mtl_perception.household.places import PLACES_BY_NAME
from mtl_perception.household.scene import Camera, draw_scene, Scene, Sensor
from mtl_perception.household.splits import Split
from mtl_perception.household.world import HIDDEN_GROUP, load_world
from mtl_perception.prediction import BACKGROUND, UNLABELLED
import mujoco
import numpy as np

_SHOWN_GROUP = 1
_FEWEST_PIXELS = 30
_SMALLEST_SHARE = 0.10
_DIFFICULT_SHARE = 0.30
_OCCLUDED_SHARE = 0.75


@dataclass(frozen=True)
class LabelledBox:
    """
    One object as PASCAL VOC describes it.

    :param label: name of its class
    :param box: ``x_min, y_min, x_max, y_max`` of its visible pixels, last pixel excluded
    :param truncated: part of it lies outside the picture
    :param occluded: part of it is hidden behind something
    :param difficult: less than a third of it can be seen
    """

    label: str
    box: Tuple[int, int, int, int]
    truncated: bool
    occluded: bool
    difficult: bool


@dataclass(frozen=True, eq=False)
class Picture:
    """
    One rendered frame with its truth.

    :param image: uint8 BGR ``[H, W, 3]``
    :param mask: uint8 ``[H, W]``; 0 background, 1 to 20 the classes, 255 objects that are too
        little seen to be labelled
    :param boxes: of the labelled objects
    :param place: label of the whole picture
    """

    image: np.ndarray
    mask: np.ndarray
    boxes: Tuple[LabelledBox, ...]
    place: str


class HouseholdRenderer:
    """
    Renders scenes of one size; holds a GL context, so one a process.

    :param cache: folder for the compiled world, made on first use
    :raises DatasetError: if the asset packages are missing
    :raises DeviceError: if no headless OpenGL can be had
    """

    def __init__(self, cache: Path, height: int = 512, width: int = 512):
        """Load the world and open the GL context."""
        self.cache, self.height, self.width = cache, height, width
        self._model = load_world(cache)
        self._data = mujoco.MjData(self._model)
        try:
            self._renderer = mujoco.Renderer(self._model, height, width)
        except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:
            raise DeviceError(
                f'expected headless OpenGL (EGL), got "{error}": install libegl1 and '
                f'libgl1-mesa-dri') from None
        self._option = mujoco.MjvOption()
        self._owners = [self._owner(geom) for geom in range(self._model.ngeom)]
        self._colours = self._model.mat_rgba.copy()
        self._materials = self._model.geom_matid.copy()
        mujoco.mj_kinematics(self._model, self._data)
        self._points = {asset.name: self._asset_points(asset.name) for asset in ASSETS}

    def close(self):
        """Release the GL context."""
        self._renderer.close()

    def draw(self, split: Split, index: int) -> Scene:
        """Draw scene ``index`` of a split for pictures of this size."""
        return draw_scene(index, split, self, self.width / self.height)

    def take(self, scene: Scene) -> Picture:
        """Render a scene and label what can be seen."""
        image = self.photograph(scene)
        mask, boxes = self._label(scene, self._instances(scene))
        return Picture(image, mask, boxes, scene.place)

    def photograph(self, scene: Scene) -> np.ndarray:
        """Render a scene without its truth, uint8 BGR ``[H, W, 3]``."""
        self._arrange(scene)
        return _expose(self._shoot(), scene.sensor)

    def points(self, name: str) -> np.ndarray:
        """Return the vertices of an asset in its own frame, metres ``[N, 3]``."""
        return self._points[name]

    def clear(self, arrangement: str, camera: Camera, aspect: float) -> float:
        """Return the distance to the nearest furniture in view, metres."""
        self._show({arrangement})
        mujoco.mj_kinematics(self._model, self._data)
        half = np.tan(np.radians(camera.fov / 2))
        groups = np.eye(6, dtype=np.uint8)[_SHOWN_GROUP]
        hit = np.zeros(1, np.int32)
        nearest = np.inf
        for x in np.linspace(-half * aspect, half * aspect, 5):
            for y in np.linspace(-half, half, 5):
                ray = camera.rotation @ np.array([x, y, -1.0])
                length = mujoco.mj_ray(
                    self._model, self._data, camera.position, ray / np.linalg.norm(ray), groups,
                    1, -1, hit)
                nearest = min(nearest, length if length >= 0 else np.inf)
        return nearest

    def surface_height(self, arrangement: str, point) -> float:
        """Return the height of the room's highest surface at ``x, y``, metres."""
        self._show({arrangement})
        mujoco.mj_kinematics(self._model, self._data)
        groups = np.eye(6, dtype=np.uint8)[_SHOWN_GROUP]
        above = np.array([*point, 2.0])
        length = mujoco.mj_ray(self._model, self._data, above, np.array([0.0, 0.0, -1.0]), groups,
                               1, -1, np.zeros(1, np.int32))
        return above[2] - length

    def _owner(self, geom):
        """Return the arrangement, asset or plain shape that a geom belongs to."""
        model = self._model
        root = model.body(model.body_rootid[model.geom_bodyid[geom]]).name
        name = model.geom(geom).name
        if root.split('/')[0] in ARRANGEMENTS or root == 'world':
            material = model.mat(model.geom_matid[geom]).name
            return (name or material).split('/')[0]
        return root

    def _asset_points(self, name):
        """Collect the vertices of an asset's meshes in its body frame."""
        model, data, parts = self._model, self._data, []
        for geom, owner in enumerate(self._owners):
            if owner == name:
                mesh = model.geom_dataid[geom]
                first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
                vertices = model.mesh_vert[first:first + count].astype(np.float64)
                parts.append(
                    vertices @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom])
        return np.unique(np.concatenate(parts), axis=0)

    def _show(self, owners):
        """Show the geoms of these owners and hide all others."""
        for geom, owner in enumerate(self._owners):
            self._model.geom_group[geom] = _SHOWN_GROUP if owner in owners else HIDDEN_GROUP

    def _arrange(self, scene: Scene):
        """Put the world into the state that the scene describes."""
        model = self._model
        self._show({scene.arrangement, *(item.name for item in scene.objects)})
        model.mat_rgba[:] = self._colours
        model.geom_matid[:] = self._materials
        surface = PLACES_BY_NAME[scene.arrangement].surface
        for geom, owner in enumerate(self._owners):
            if owner == scene.arrangement and self._is_surface(geom, surface):
                kind = 'mesh' if surface.endswith('_vis') else 'plain'
                material = model.mat(f'surface_{scene.material}_{kind}').id
                model.geom_matid[geom] = material
        for item, tint, size in zip(scene.objects, scene.tints, scene.sizes):
            body = model.body(item.name).id
            model.body_pos[body] = item.position
            mujoco.mju_mat2Quat(model.body_quat[body], item.rotation.flatten())
            for geom, owner in enumerate(self._owners):
                if owner == item.name:
                    if model.geom_matid[geom] >= 0:
                        model.mat_rgba[model.geom_matid[geom], :3] = \
                            self._colours[model.geom_matid[geom], :3] * tint
                    if item.asset is None:
                        model.geom_size[geom] = size
                        model.geom_rbound[geom] = np.linalg.norm(size) * 2
        self._point(scene.camera)
        self._light(scene)

    def _is_surface(self, geom, surface):
        """Tell whether a geom is the surface of its arrangement, by its name or its mesh's."""
        model, mesh = self._model, self._model.geom_dataid[geom]
        name = model.geom(geom).name
        if mesh >= 0:
            name = model.mesh(mesh).name
        return name.split('/')[-1] == surface

    def _point(self, camera: Camera):
        """Set the camera."""
        self._model.cam_pos[0] = camera.position
        mujoco.mju_mat2Quat(self._model.cam_quat[0], camera.rotation.flatten())
        self._model.cam_fovy[0] = camera.fov

    def _light(self, scene: Scene):
        """Set the two lamps and the ambient light."""
        model, light = self._model, scene.light
        lamps = ((light.key_position, light.key_colour), (light.fill_position, light.fill_colour))
        for lamp, (position, colour) in enumerate(lamps):
            model.light_pos[lamp] = position
            away = scene.focus - position
            model.light_dir[lamp] = away / np.linalg.norm(away)
            model.light_diffuse[lamp] = colour
            model.light_specular[lamp] = 0.4 * colour
            model.light_ambient[lamp] = 0
        model.light_castshadow[:] = [light.shadows, False]
        model.vis.headlight.ambient[:] = light.ambient
        model.vis.headlight.diffuse[:] = 0.3 * light.ambient
        model.vis.headlight.specular[:] = 0

    def _shoot(self):
        """Render colours, uint8 BGR ``[H, W, 3]``."""
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, 'camera', self._option)
        return cv2.cvtColor(self._renderer.render(), cv2.COLOR_RGB2BGR)

    def _instances(self, scene: Scene):
        """Render which object each pixel shows: its position in the scene, -1 for the room."""
        self._renderer.enable_segmentation_rendering()
        identity = self._renderer.render()
        self._renderer.disable_segmentation_rendering()
        position = {item.name: at for at, item in enumerate(scene.objects)}
        table = np.array([position.get(owner, -1) for owner in self._owners] + [-1])
        geoms = np.where(identity[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM), identity[..., 0], -1)
        return table[geoms]

    def _label(self, scene: Scene, instances):
        """Turn the instance picture into a class mask and boxes."""
        mask = np.full(instances.shape, BACKGROUND, np.uint8)
        boxes = []
        for at, item in enumerate(scene.objects):
            if item.asset is None or item.asset.label is None:
                continue
            seen = instances == at
            pixels = int(np.count_nonzero(seen))
            if pixels == 0:
                continue
            outline = self._project(item.points, scene.camera)
            share = pixels / max(float(cv2.contourArea(outline)), 1.0)
            if pixels < _FEWEST_PIXELS or share < _SMALLEST_SHARE:
                mask[seen] = UNLABELLED
                continue
            mask[seen] = item.asset.class_id
            x, y, width, height = cv2.boundingRect(seen.astype(np.uint8))
            low, high = outline.min(axis=0), outline.max(axis=0)
            inside = _clip_area(outline, self.width, self.height)
            boxes.append(LabelledBox(
                OBJECT_CLASSES[item.asset.class_id - 1], (x, y, x + width, y + height),
                truncated=bool((low < -1).any() or high[0] > self.width + 1 or
                               high[1] > self.height + 1),
                occluded=pixels / max(inside, 1.0) < _OCCLUDED_SHARE * _solidity(item),
                difficult=share < _DIFFICULT_SHARE * _solidity(item)))
        return mask, tuple(boxes)

    def _project(self, points, camera: Camera):
        """Return the convex outline of world points in the picture, float32 pixels ``[N, 2]``."""
        local = (points - camera.position) @ camera.rotation
        depth = np.maximum(-local[:, 2:], 0.02)
        focal = self.height / 2 / np.tan(np.radians(camera.fov / 2))
        pixels = local[:, :2] / depth * [focal, -focal] + [self.width / 2, self.height / 2]
        return cv2.convexHull(pixels.astype(np.float32))[:, 0]


def _solidity(item):
    """Return the share of its convex outline that an unhidden object fills, roughly."""
    return {'frypan': 0.65, 'moka_pot': 0.8, 'mug': 0.85}.get(item.asset.label, 0.97)


def _clip_area(outline, width, height):
    """Return how many pixels of the picture a convex outline covers."""
    covered = np.zeros((height, width), np.uint8)
    corners = np.clip(np.round(outline), -16000, 16000).astype(np.int32)
    cv2.fillConvexPoly(covered, corners, 1)
    return float(np.count_nonzero(covered))


def _expose(image, sensor: Sensor):
    """Apply defocus, exposure, gamma and noise to a uint8 BGR picture."""
    if sensor.blur:
        sigma = sensor.blur * image.shape[0] / 512
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    values = np.clip(np.float32(image) * np.float32(sensor.gain / 255), 0, 1)
    values = np.power(values, np.float32(sensor.gamma)) * np.float32(255)
    noise = np.random.default_rng(sensor.noise_seed).standard_normal(
        image.shape[:2] + (3,), np.float32)
    return np.clip(values + noise * np.float32(sensor.noise) + 0.5, 0, 255).astype(np.uint8)
