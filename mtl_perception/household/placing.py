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
"""Lay objects on a surface so that none floats, sinks or cuts into another."""

from dataclasses import dataclass
from typing import Optional

import cv2
from mtl_perception.household.objects import Asset
import numpy as np

_PATIENCE = 40
_GAP = 0.002


@dataclass(frozen=True, eq=False)
class Laid:
    """
    One object at rest.

    :param name: of the asset or plain shape
    :param asset: None for a plain shape
    :param rotation: model to world, ``[3, 3]``
    :param position: of the model's origin in the world, metres ``[3]``
    :param points: the model's vertices in the world, metres ``[N, 3]``
    :param outline: convex outline seen from above, float32 ``[M, 2]``
    :param holds: ``dish``, ``flat`` or None: what can be put on it
    """

    name: str
    asset: Optional[Asset]
    rotation: np.ndarray
    position: np.ndarray
    points: np.ndarray
    outline: np.ndarray
    holds: Optional[str]


def resting_rotation(rng, asset: Asset, extent) -> tuple:
    """
    Draw how an object rests.

    :param extent: size of its bounding box along its own axes, metres ``[3]``
    :return: ``(rotation [3, 3] without the turn about the vertical, what it can hold)``
    """
    up, sign, roll, holds = asset.up_axis, 1, 0.0, None
    if asset.shape == 'block':
        weights = np.asarray(extent) ** -1.3
        up = int(rng.choice(3, p=weights / weights.sum()))
        sign = rng.choice([-1, 1])
        holds = 'flat'
    elif asset.shape in ('bottle', 'can') and rng.random() < 0.35:
        sides = [axis for axis in range(3) if axis != asset.up_axis]
        thin, wide = sorted(sides, key=lambda axis: extent[axis])
        up = thin if extent[thin] < 0.9 * extent[wide] else int(rng.choice(sides))
        sign = rng.choice([-1, 1])
        if asset.shape == 'can':
            roll = rng.uniform(0, 2 * np.pi)
    elif asset.shape == 'dish':
        sign = -1 if rng.random() < 0.06 else 1
        holds = 'dish' if sign > 0 else None
    return _axis_up(up, sign) @ _turn(asset.up_axis, roll), holds


def _axis_up(axis, sign):
    """Return the rotation that brings one signed model axis to the vertical."""
    rows = np.zeros((3, 3))
    rows[2, axis] = sign
    rows[0, (axis + 1) % 3] = 1
    rows[1] = np.cross(rows[2], rows[0])
    return rows


def _turn(axis, angle):
    """Return the rotation by ``angle`` radians about a model axis."""
    rows = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rows[first, first] = rows[second, second] = np.cos(angle)
    rows[second, first], rows[first, second] = np.sin(angle), -np.sin(angle)
    return rows


def lay(rng, name, asset, points, laid, area, spread, height, may_stack) -> Optional[Laid]:
    """
    Find a free place for an object, or None if there is none.

    :param points: the model's vertices in its own frame, metres ``[N, 3]``
    :param laid: what lies there already
    :param area: free rectangle of the surface, ``x_min, y_min, x_max, y_max`` metres
    :param spread: ``(x, y, radius)`` of the disc that centres are drawn from
    :param height: of the surface, metres
    :param may_stack: whether it may be put on or into something that lies there
    """
    if asset:
        rotation, holds = resting_rotation(rng, asset, np.ptp(points, axis=0))
    else:
        rotation, holds = np.eye(3), None
    rotation = _turn(2, rng.uniform(0, 2 * np.pi)) @ rotation
    turned = points @ rotation.T
    centre = turned.mean(axis=0)
    centre[2] = turned[:, 2].min()
    turned -= centre
    outline = cv2.convexHull(turned[:, :2].astype(np.float32))[:, 0]

    def settle(x, y, z):
        offset = np.array([x, y, z])
        return Laid(name, asset, rotation, offset - centre, turned + offset,
                    outline + offset[:2].astype(np.float32), holds)

    if may_stack:
        for below in laid:
            if below.holds and _inside(outline + below.points.mean(axis=0)[:2], below.outline):
                x, y = below.points.mean(axis=0)[:2]
                top = _top(below, outline + np.array([x, y]))
                stacked = settle(x, y, top + 0.0005)
                others = [item for item in laid if item is not below]
                if not any(_overlap(stacked.outline, item.outline) for item in others):
                    return stacked
    for _ in range(_PATIENCE):
        angle, share = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        x = spread[0] + spread[2] * share * np.cos(angle)
        y = spread[1] + spread[2] * share * np.sin(angle)
        low, high = outline.min(axis=0) + [x, y], outline.max(axis=0) + [x, y]
        if (low < area[:2]).any() or (high > area[2:]).any():
            continue
        candidate = settle(x, y, height + 0.0003)
        if not any(_overlap(candidate.outline, item.outline) for item in laid):
            return candidate
    return None


def outline_distance(first, second) -> float:
    """
    Return a lower bound of the distance of two convex outlines ``[N, 2]``, metres.

    Negative if they overlap: how deep. It is the widest gap along any edge's normal (separating
    axes); OpenCV's intersectConvexConvex misses overlaps of outlines a few centimetres wide.
    """
    widest = -np.inf
    for outline in (first, second):
        edge = np.roll(outline, -1, axis=0) - outline
        normal = np.column_stack([edge[:, 1], -edge[:, 0]])
        normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        one, other = first @ normal.T, second @ normal.T
        gaps = np.maximum(one.min(axis=0) - other.max(axis=0),
                          other.min(axis=0) - one.max(axis=0))
        widest = max(widest, gaps.max())
    return float(widest)


def _overlap(first, second) -> bool:
    """Tell whether two convex outlines come closer than the gap."""
    low, high = first.min(axis=0) - _GAP, first.max(axis=0) + _GAP
    if (second.max(axis=0) < low).any() or (second.min(axis=0) > high).any():
        return False
    return outline_distance(first, second) < _GAP


def _inside(inner, outer) -> bool:
    """Tell whether every corner of ``inner`` [N, 2] lies in the convex outline ``outer``."""
    return bool(_contained(inner, outer).all())


def _contained(points, outline):
    """Return for each point [N, 2] whether the convex outline [M, 2] contains it."""
    edge = np.roll(outline, -1, axis=0) - outline
    away = points[:, None] - outline[None]
    cross = edge[None, :, 0] * away[..., 1] - edge[None, :, 1] * away[..., 0]
    return (cross >= 0).all(axis=1) | (cross <= 0).all(axis=1)


def _top(below: Laid, outline) -> float:
    """Return the height at which something of this outline comes to rest on ``below``."""
    if below.holds == 'flat':
        return below.points[:, 2].max()
    under = below.points[_contained(below.points[:, :2], outline)]
    return under[:, 2].max() if len(under) else below.points[:, 2].max()
