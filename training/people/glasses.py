"""Glasses: two rims, a bridge and the temples, as tubes."""

from __future__ import annotations

import moderngl
import numpy as np
from numpy.typing import NDArray

from training.avatar import shaders
from training.avatar.gpu_head import vertex_layout
from training.people.identity import GlassesLook

FloatArray = NDArray[np.float32]

MATERIAL = """
uniform vec3 glasses_colour;
void main() {
    vec3 normal = normalize(n), v = normalize(eye_point - world);
    vec3 c = glasses_colour * diffuse(normal, 0.9, 0.9, vec3(0.05)) + vec3(gloss(normal, v, 0.9, 0.9, 0.28)) * 0.8;
    colour = filmic(c);
}
"""
_IN_FRONT = 0.33  # of an eye's centre, in decimetres
_EAR = (0.74, 0.30, -0.05)
_CORNERS = 8  # of a tube's cross-section


class Glasses:
    """Drawn with one program; they follow the head."""

    def __init__(self, context: moderngl.Context, look: GlassesLook, eyes: FloatArray, light: str) -> None:
        """`eyes` [2, 3] are the centres of the eyeballs."""
        tubes = [_tube(path, look.rim, closed) for path, closed in _paths(look, eyes)]
        starts = np.cumsum([0] + [len(points) for points, _, _ in tubes])
        points = np.concatenate([points for points, _, _ in tubes])
        normals = np.concatenate([normals for _, normals, _ in tubes])
        faces = np.concatenate([faces + start for (_, _, faces), start in zip(tubes, starts, strict=False)])
        baked = np.broadcast_to(np.array([1, 1, 1, -1], np.float32), (len(points), 4))
        data = np.concatenate([points, normals, points, baked], axis=1).astype("f4")
        self._program = context.program(
            vertex_shader=shaders.VERSION + shaders.VERTEX, fragment_shader=shaders.fragment(MATERIAL, light)
        )
        self._program["glasses_colour"].value = look.colour
        fields = (("3f", "position"), ("3f", "normal"), ("3f", "local"), ("4f", "bake"))
        layout = vertex_layout(self._program, context.buffer(data.tobytes()), fields)
        self._array = context.vertex_array(self._program, [layout], context.buffer(faces.astype("i4").tobytes()))

    @property
    def programs(self) -> list[moderngl.Program]:
        """The one program of the tubes."""
        return [self._program]

    def draw(self) -> None:
        """Draw them into the bound framebuffer."""
        self._array.render()


def _paths(look: GlassesLook, eyes: FloatArray) -> list[tuple[NDArray[np.float64], bool]]:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    power = 0.35 + 0.65 * look.round  # a superellipse: small powers have corners
    outline = np.stack([np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * look.width,
                        np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * look.height], 1)  # fmt: skip
    paths: list[tuple[NDArray[np.float64], bool]] = []
    for centre in eyes.astype(np.float64):
        side = np.sign(centre[0])
        # A lens wraps a little around the face, and hangs a little below the eye.
        x = centre[0] + 0.03 * side + outline[:, 0]
        z = centre[2] + _IN_FRONT - 0.18 * np.abs(x) ** 2
        paths.append((np.stack([x, centre[1] - 0.02 + outline[:, 1], z], 1), True))
        hinge = np.array([centre[0] + side * (0.03 + look.width), centre[1] + 0.4 * look.height, z.min()])
        ear = np.array([side * _EAR[0], _EAR[1], _EAR[2]])
        t = np.linspace(0, 1, 8)[:, None]
        paths.append((hinge * (1 - t) + ear * t, False))
    left, right = sorted(eyes.astype(np.float64), key=lambda eye: float(eye[0]))
    t = np.linspace(0, 1, 10)
    x = (left[0] + look.width - 0.03) * (1 - t) + (right[0] - look.width + 0.03) * t
    y = (left[1] + right[1]) / 2 + 0.05 + 0.03 * np.sin(np.pi * t)
    paths.append((np.stack([x, y, np.full(10, left[2] + _IN_FRONT)], 1), False))
    return paths


def _tube(path: NDArray[np.float64], radius: float, closed: bool) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Points and normals [n, 3] and triangles [k, 3] of a tube around a path [m, 3]."""
    following = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    along = following / np.linalg.norm(following, axis=1, keepdims=True)
    helper = np.where(np.abs(along[:, 2:]) < 0.9, np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, 1.0, 0.0]]))
    one = np.cross(along, helper)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other = np.cross(along, one)
    turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    normals = one[:, None] * np.cos(turn)[None, :, None] + other[:, None] * np.sin(turn)[None, :, None]
    points = path[:, None] + radius * normals
    m = len(path)
    index = np.arange(m * _CORNERS).reshape(m, _CORNERS)
    a = index if closed else index[:-1]
    b = np.roll(index, -1, 0) if closed else index[1:]
    c, d = np.roll(a, -1, 1), np.roll(b, -1, 1)
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return points.reshape(-1, 3).astype(np.float32), normals.reshape(-1, 3).astype(np.float32), faces
