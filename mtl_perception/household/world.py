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
Build the one model that holds all rooms and all objects.

Compiling is the slow part, so it is done once: a picture shows one room and a few objects by
switching the groups of their geoms, and everything else stays hidden.
"""

import os
from pathlib import Path
import shutil

from mtl_perception.household.assets import assets_folder, shrink_mesh, shrink_texture
from mtl_perception.household.classes import ARRANGEMENTS, MATERIALS
from mtl_perception.household.objects import ASSETS
from mtl_perception.household.places import PLACES_BY_NAME
from mtl_perception.household.scene import PRIMITIVES
import mujoco

WORLD_VERSION = 3
HIDDEN_GROUP = 5

SHADOW_SIZE = 1024

_SHRUNK = 'shrunk'
_MATERIAL_TEXTURES = {
    'oak': ('textures/table_light_wood.png', 1.2),
    'marble': ('scenes/short_coffee_table/Marble062_COL_4K.png', 0.8),
    'slate': ('textures/dark_gray_plaster.png', 1.5),
}


def load_world(cache: Path) -> mujoco.MjModel:
    """
    Return the compiled world, building it into ``cache`` the first time.

    :raises DatasetError: if the asset packages are not installed
    """
    cache = cache.resolve()  # MuJoCo looks for relative files beside the scene, not here
    file = cache / f'world_{WORLD_VERSION}_mujoco_{mujoco.__version__}.mjb'
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        model = build_world(cache)
        part = file.with_suffix(f'.{os.getpid()}.part')
        mujoco.mj_saveModel(model, str(part), None)
        os.replace(part, file)
        shutil.rmtree(cache / _SHRUNK)
    return mujoco.MjModel.from_binary_path(str(file))


def build_world(cache: Path) -> mujoco.MjModel:
    """Compile all rooms, objects and plain shapes into one model, everything hidden."""
    assets = assets_folder()
    shrunk = cache / _SHRUNK
    world = mujoco.MjSpec()
    world.visual.global_.offwidth = world.visual.global_.offheight = 2048
    world.visual.quality.shadowsize = SHADOW_SIZE
    world.visual.quality.offsamples = 4
    world.stat.extent = 1
    world.visual.map.znear = 0.02
    world.visual.map.zfar = 15
    world.visual.map.shadowclip = 1.0
    world.worldbody.add_camera(name='camera')
    # Shadows of a spot light show its depth map's steps on the walls; parallel light has none.
    for name, kind in (('key', 'DIRECTIONAL'), ('fill', 'SPOT')):
        world.worldbody.add_light(
            name=name, type=getattr(mujoco.mjtLightType, f'mjLIGHT_{kind}'), pos=[0, 0, 3],
            cutoff=80, exponent=1, attenuation=[1, 0, 0])
    world.add_texture(
        name='sky', type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=64, height=64,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT, rgb1=[.6, .65, .7], rgb2=[.6, .65, .7])
    for material in MATERIALS:
        source, repeat = _MATERIAL_TEXTURES[material]
        file = shrunk / 'surfaces' / f'{material}.png'
        shrink_texture(assets / source, file)
        world.add_texture(
            name=f'surface_{material}', type=mujoco.mjtTexture.mjTEXTURE_2D, file=str(file))
        for kind, uniform in (('plain', True), ('mesh', False)):
            added = world.add_material(
                name=f'surface_{material}_{kind}', texuniform=uniform,
                texrepeat=[repeat, repeat], specular=0.2, shininess=0.2)
            added.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f'surface_{material}'

    for name in ARRANGEMENTS:
        place = PLACES_BY_NAME[name]
        spec = mujoco.MjSpec.from_file(str(assets / 'scenes' / f'{place.file}.xml'))
        for item in list(spec.lights) + list(spec.cameras) + list(spec.sites):
            spec.delete(item)
        _strip(spec, assets / 'scenes', shrunk / name, surface=place.surface)
        world.attach(spec, prefix=f'{name}/', frame=world.worldbody.add_frame())
    for asset in ASSETS:
        folder = assets / asset.collection / asset.name
        spec = mujoco.MjSpec.from_file(str(folder / f'{asset.name}.xml'))
        for site in list(spec.sites):
            spec.delete(site)
        _strip(spec, folder, shrunk / asset.name)
        body = world.worldbody.add_body(name=asset.name)
        body.add_frame().attach_body(spec.worldbody.first_body(), f'{asset.name}/', '')
    for shape in PRIMITIVES:
        body = world.worldbody.add_body(name=shape)
        added = world.add_material(name=shape, specular=0.4, shininess=0.4)
        body.add_geom(
            name=shape, type=getattr(mujoco.mjtGeom, f'mjGEOM_{shape.upper()}'),
            size=[.03, .03, .03], material=shape)
    for geom in world.geoms:
        geom.group = HIDDEN_GROUP
        geom.contype = geom.conaffinity = 0
        geom.mass = 0
    return world.compile()


def _strip(spec, folder, shrunk, surface=None):
    """Drop collision shapes, point meshes and textures to small copies, forbid reflections."""
    for geom in list(spec.geoms):
        if geom.group != 1:
            spec.delete(geom)
    for mesh in spec.meshes:
        target = shrunk / f'{mesh.name}.msh'
        shrink_mesh(folder / mesh.file, target, mesh.scale, metres_as_uv=mesh.name == surface)
        mesh.file = str(target)
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    for texture in list(spec.textures):
        if texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            spec.delete(texture)
        elif texture.file:
            target = shrunk / f'{texture.name}.png'
            shrink_texture((folder / texture.file).resolve(), target)
            texture.file = str(target)
    for material in spec.materials:
        material.reflectance = 0
