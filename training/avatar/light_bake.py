"""Ambient occlusion and the soft shadow of the key light, computed once per vertex from depth maps."""

from __future__ import annotations

import moderngl
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

MAP_SIZE = 320
EXTENT = 3.4
BIAS = 0.035
KEY = np.array([-0.52, 0.50, 0.69])
_VERTEX = "#version 330\nin vec3 position; uniform mat4 clip; void main() { gl_Position = clip * vec4(position, 1); }"
_FRAGMENT = "#version 330\nvoid main() {}"


def sphere(count: int) -> NDArray[np.float64]:
    """Evenly distributed directions [count, 3], by the golden angle."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    angle = np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)


def _look_along(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthographic clip transform [4, 4] of a camera that looks from `direction` to the origin."""
    up = np.array([0.0, 1.0, 0.0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    side = np.cross(up, direction)
    side /= np.linalg.norm(side)
    axes = np.stack([side, np.cross(direction, side), -direction]) / EXTENT
    clip = np.eye(4)
    clip[:3, :3] = axes
    return clip


class LightBake:
    """Depth maps of one mesh from any direction; positions [n, 3], triangles [k, 3]."""

    def __init__(self, context: moderngl.Context, positions: FloatArray, triangles: NDArray[np.int32]) -> None:
        self._positions = positions
        self._program = context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        self._depth = context.depth_texture((MAP_SIZE, MAP_SIZE))
        self._target = context.framebuffer(depth_attachment=self._depth)
        self._array = context.vertex_array(
            self._program,
            [(context.buffer(positions.astype("f4").tobytes()), "3f", "position")],
            context.buffer(triangles.astype("i4").tobytes()),
        )

    def visible(self, direction: NDArray[np.float64]) -> FloatArray:
        """Visibility of each vertex from far away in `direction`, averaged over 3×3 map cells: [n] in 0..1."""
        clip = _look_along(direction)
        self._program["clip"].write(clip.T.astype("f4").tobytes())
        self._target.use()
        self._target.clear(depth=1.0)
        self._array.render()
        depth = np.frombuffer(self._depth.read(), np.float32).reshape(MAP_SIZE, MAP_SIZE)
        at = self._positions @ clip[:3, :3].T
        cell = np.clip(((at[:, :2] + 1) / 2 * MAP_SIZE).astype(int), 1, MAP_SIZE - 2)
        own = (at[:, 2] + 1) / 2 - BIAS / EXTENT / 2
        lit = [own < depth[cell[:, 1] + dy, cell[:, 0] + dx] for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        return np.asarray(np.mean(lit, axis=0, dtype=np.float32))

    def ambient(self, normals: FloatArray, count: int = 64) -> FloatArray:
        """Share of the cosine-weighted sky that is visible from each vertex, [n] in 0..1."""
        total = np.zeros(len(normals), np.float32)
        weight = np.full(len(normals), 1e-6, np.float32)
        for direction in sphere(count):
            cosine = np.maximum(normals @ direction, 0).astype(np.float32)
            total += cosine * self.visible(direction)
            weight += cosine
        return total / weight

    def key(self, count: int = 20, spread: float = 0.24, towards: NDArray[np.float64] = KEY) -> FloatArray:
        """Share of the soft box in the direction `towards` that is visible from each vertex, [n] in 0..1."""
        offsets = sphere(count) * spread
        seen = [self.visible((towards + o) / np.linalg.norm(towards + o)) for o in offsets]
        return np.asarray(np.mean(seen, axis=0, dtype=np.float32))
