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
"""A video of a camera that moves round a few scenes, one after the other."""

from dataclasses import replace
from pathlib import Path

import cv2
from mtl_perception.errors import DatasetError
from mtl_perception.household.render import HouseholdRenderer
from mtl_perception.household.scene import Camera, from_focus, Light, look_at, Scene, Sensor
from mtl_perception.household.splits import Split, SPLITS
import numpy as np
from tqdm import tqdm

_STOPS = ('kitchen', 'living_room', 'study', 'coffee_table_blue', 'tabletop')
_OBJECTS = (5, 8)
_SHARES = np.linspace(0, 1, 7)
_CODEC = 'mp4v'
_SENSOR = Sensor(np.ones(3), gamma=1.0, blur=0.0, noise=0.0, noise_seed=0)


def render_tour(renderer: HouseholdRenderer, out: Path, frames: int, fps: float):
    """
    Write a video (MPEG-4) of the camera moving round five scenes.

    :param frames: of the whole video
    :param fps: frames a second when played
    :raises DatasetError: if the video cannot be written
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter_fourcc(*_CODEC), fps,
                             (renderer.width, renderer.height))
    if not writer.isOpened():
        raise DatasetError(
            f'expected to write an MPEG-4 video, cannot open {out}: choose a writable .mp4')
    scenes = _choose_scenes(renderer)
    try:
        for number in tqdm(range(frames), unit='frame', desc='tour'):
            stop, share = divmod(number * len(scenes) / frames, 1)
            camera = _camera(scenes[int(stop)], share)
            scene = replace(scenes[int(stop)], camera=camera, sensor=_SENSOR)
            writer.write(renderer.photograph(scene))
    finally:
        writer.release()


def _choose_scenes(renderer):
    """Return the first well filled scene of each stop that the camera can move round."""
    chosen, index = {}, 0
    split = SPLITS['tour']
    while len(chosen) < len(_STOPS):
        scene = _draw(renderer, split, index)
        index += 1
        if scene.arrangement in _STOPS and scene.arrangement not in chosen and \
                _is_good(renderer, scene):
            chosen[scene.arrangement] = scene
    return [chosen[name] for name in _STOPS]


def _draw(renderer, split: Split, index: int) -> Scene:
    """Draw a scene in even, warm light that shows every object."""
    scene = renderer.draw(split, index)
    if not scene.objects:
        return scene
    middle = np.mean([item.position for item in scene.objects], axis=0)
    focus = np.array([middle[0], middle[1], scene.focus[2] + 0.04])
    light = Light(
        key_position=from_focus(focus, 1.6, 40, 80), key_colour=np.array([0.5, 0.47, 0.43]),
        fill_position=from_focus(focus, 2.2, -70, 50), fill_colour=np.array([0.17, 0.18, 0.19]),
        ambient=np.array([0.33, 0.33, 0.33]), shadows=True)
    return replace(scene, focus=focus, light=light)


def _is_good(renderer, scene) -> bool:
    """Tell whether a scene has enough objects, close together, and a free way round."""
    labelled = [item for item in scene.objects if item.asset and item.asset.label]
    strangers = [item for item in scene.objects if item.asset and not item.asset.label]
    if strangers or not _OBJECTS[0] <= len(labelled) <= _OBJECTS[1]:
        return False
    away = [np.linalg.norm(item.position - scene.focus) for item in labelled]
    aspect = renderer.width / renderer.height
    return max(away) < 0.4 and all(
        renderer.clear(scene.arrangement, _camera(scene, share), aspect) > 0.35
        for share in _SHARES)


def _camera(scene, share) -> Camera:
    """Return the camera after a share, 0 to 1, of its way round a scene."""
    smooth = share * share * (3 - 2 * share)
    position = from_focus(
        scene.focus, 1.0 - 0.22 * np.sin(np.pi * share), -45 + 90 * smooth,
        20 + 12 * np.sin(np.pi * share))
    return Camera(position, look_at(position, scene.focus), fov=46.0)
