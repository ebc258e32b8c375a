"""The head on the GPU: morphed on the CPU; rotated and lit by shaders."""

from __future__ import annotations

from collections.abc import Sequence

import moderngl
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.avatar import shaders
from training.avatar.head_mesh import HeadMesh, Part
from training.avatar.motion import Pose

FloatArray = NDArray[np.float32]

MATERIALS = {
    Part.SKIN: shaders.SKIN,
    Part.EYE: shaders.EYE,
    Part.TEETH: shaders.TEETH,
    Part.TONGUE: shaders.TONGUE,
    Part.LASH: shaders.LASH,
}
NEGLIGIBLE = 1e-4


def triangles(quads: NDArray[np.int64]) -> NDArray[np.int32]:
    """Two triangles for each quad, [2k, 3]."""
    return np.asarray(np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]), np.int32)


def vertex_layout(
    program: moderngl.Program, buffer: moderngl.Buffer, fields: Sequence[tuple[str, str]]
) -> tuple[moderngl.Buffer | str, ...]:
    """A buffer's format for `vertex_array`, with padding in place of fields that the compiler removed."""
    padding = {"2f": "8x", "3f": "12x", "4f": "16x"}
    formats = [kind if name in program else padding[kind] for kind, name in fields]
    return (buffer, " ".join(formats), *(name for _, name in fields if name in program))


class Morph:
    """Positions and smooth normals of a mesh for given face units; normals are continuous across texture seams."""

    def __init__(self, mesh: HeadMesh) -> None:
        self._mesh = mesh
        self._faces = np.concatenate([mesh.quads[part] for part in Part if part is not Part.LASH])
        _, place = np.unique(np.round(mesh.rest, 5), axis=0, return_inverse=True)
        place = place.ravel()
        count = len(self._faces)
        ones = np.ones(count * 4, np.float32)
        self._faces_to_vertices = sparse.csr_matrix(
            (ones, (place[self._faces.ravel()], np.repeat(np.arange(count), 4))), (place.max() + 1, count)
        )
        self._place = place

    def positions(self, units: dict[str, float], gaze: tuple[float, float]) -> FloatArray:
        """Positions [n, 3] in head space; raises `KeyError` for an unknown face unit."""
        positions = self._mesh.rest.copy()
        for name, strength in units.items():
            offsets = self._mesh.units[name]
            if abs(strength) > NEGLIGIBLE:
                positions += np.float32(strength) * offsets
        cy, sy, cp, sp = np.cos(gaze[0]), np.sin(gaze[0]), np.cos(gaze[1]), np.sin(gaze[1])
        turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        for ids, centre in zip(self._mesh.eyes, self._mesh.eye_centres, strict=True):
            positions[ids] = (self._mesh.rest[ids] - centre) @ turn.T.astype(np.float32) + centre
        return positions

    def normals(self, positions: FloatArray) -> FloatArray:
        """Unit normals [n, 3]."""
        a, b, c, d = (positions[self._faces[:, i]] for i in range(4))
        p, q = c - a, d - b
        cross = np.empty_like(p)
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            cross[:, i] = p[:, j] * q[:, k] - p[:, k] * q[:, j]
        normals = self._faces_to_vertices @ cross
        normals /= np.sqrt(np.einsum("ij,ij->i", normals, normals))[:, None] + 1e-12
        return np.asarray(normals[self._place])


class GpuHead:
    """Buffers and draw calls of one mesh.

    `bake` [n, 4] is passed to the vertex stage; faces with a corner outside `shown` [n] are not drawn. `light` is the
    shaders' source of the light.
    """

    def __init__(
        self,
        context: moderngl.Context,
        mesh: HeadMesh,
        bake: FloatArray,
        shown: NDArray[np.bool_] | None = None,
        light: str = shaders.LIGHT,
    ) -> None:
        self._morph = Morph(mesh)
        static = np.concatenate([mesh.uvs, mesh.local, bake], axis=1).astype("f4")
        fixed = context.buffer(static.tobytes())
        self._moving = context.buffer(reserve=len(mesh.rest) * 24)
        self._last: tuple[object, ...] | None = None
        self._context = context
        self._programs: list[moderngl.Program] = []
        self._arrays: list[tuple[Part, moderngl.VertexArray]] = []
        for part, material in MATERIALS.items():
            quads = mesh.quads[part]
            if shown is not None:
                quads = quads[shown[quads].all(axis=1)]
            if not len(quads):
                continue
            program = context.program(
                vertex_shader=shaders.VERSION + shaders.VERTEX, fragment_shader=shaders.fragment(material, light)
            )
            content = [
                vertex_layout(program, self._moving, (("3f", "position"), ("3f", "normal"))),
                vertex_layout(program, fixed, (("2f", "uv"), ("3f", "local"), ("4f", "bake"))),
            ]
            index = context.buffer(triangles(quads).tobytes())
            self._programs.append(program)
            self._arrays.append((part, context.vertex_array(program, [c for c in content if len(c) > 2], index)))

    @property
    def programs(self) -> list[moderngl.Program]:
        """The programs of all materials, for uniforms that they share."""
        return self._programs

    def morph(self, units: dict[str, float], pose: Pose) -> None:
        """Upload the shape for these face units and this gaze, unless it is already on the GPU."""
        gaze = (pose.gaze_yaw, pose.gaze_pitch)
        key = (gaze, tuple(sorted(units.items())))
        if key == self._last:
            return
        positions = self._morph.positions(units, (pose.gaze_yaw, -pose.gaze_pitch))
        self._moving.write(np.concatenate([positions, self._morph.normals(positions)], axis=1).astype("f4").tobytes())
        self._last = key

    def draw(self) -> None:
        """Draw every part into the bound framebuffer."""
        for part, array in self._arrays:
            # The skin is visible from outside only: its back faces need no shading. The small parts are open surfaces.
            if part is Part.SKIN:
                self._context.enable(moderngl.CULL_FACE)
            array.render()
            self._context.disable(moderngl.CULL_FACE)
