"""A knitted crew-neck top and a blazer, as shells around the bust."""

from __future__ import annotations

from collections.abc import Callable

import moderngl
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.avatar import shaders
from training.avatar.gpu_head import Morph, triangles, vertex_layout
from training.avatar.head_mesh import HeadMesh, Part
from training.avatar.scalp import head_follow_weight

FloatArray = NDArray[np.float32]

TOP_OFFSET, BLAZER_OFFSET, COLLAR_OFFSET = 0.030, 0.075, 0.125

TOP_COLOUR, BLAZER_COLOUR = (0.62, 0.575, 0.50), (0.020, 0.027, 0.044)

TOP = """
uniform vec3 top_colour;
void main() {
    float line = l.y + 0.62 * (l.z - 0.30) + 0.10 * l.x * l.x + 1.27;
    if (line > 0.0 || abs(l.x) > 1.1) discard;
    vec3 normal = normalize(n), v = normalize(eye_point - world);
    float rib = step(-0.085, line);
    float angle = atan(l.x, l.z + 0.35);
    float wale = mix(sin(l.x * 190.0 + 0.7 * sin(l.y * 180.0)), sin(angle * 150.0), rib);
    float course = mix(sin(l.y * 180.0 + 1.6 * abs(sin(l.x * 95.0))), 0.0, rib);
    float relief = 0.5 + 0.22 * wale + 0.20 * course;
    normal = normalize(normal + vec3(0.16 * wale, 0.10 * course, 0.0));
    vec3 albedo = top_colour * mix(0.84, 1.03, relief);
    float edge = mix(0.80, 1.0, smoothstep(-0.085, -0.105, line) + rib);
    float round = mix(1.0, 0.72 + 0.28 * sin(3.1416 * clamp(-line / 0.085, 0.0, 1.0)), rib);
    vec3 c = albedo * edge * round * diffuse(normal, b.x, b.y, vec3(0.30, 0.28, 0.26));
    c += albedo * 0.22 * pow(1.0 - clamp(dot(normal, v), 0.0, 1.0), 3.0) * b.x;
    colour = filmic(c);
}
"""

BLAZER = """
uniform float collar; uniform vec3 blazer_colour;
float weave(vec3 q) { return 0.5 + 0.25 * sin(q.x * 260.0 + q.y * 150.0) + 0.25 * sin(q.y * 250.0 - q.x * 120.0); }
void main() {
    float x = abs(l.x), down = clamp((-1.02 - l.y) / 1.75, 0.0, 1.4);
    // Distance from the front edge of the jacket, which runs from beside the neck down to the button.
    float edge = x - mix(0.68, 0.06, pow(down, 0.92));
    if (l.z < -0.05 - 0.3 * collar) edge = x - 0.46;
    if (edge < 0.0 || l.y > -0.88) discard;
    float notch = 1.0;
    if (collar > 0.5) {
        float width = mix(0.24, 0.40, smoothstep(0.05, 0.42, down)) * (1.0 - smoothstep(0.55, 1.05, down)) ;
        if (l.z < -0.10) width = 0.22;
        float gap = l.y + 1.52 + 0.35 * (x - 0.7);
        if (edge > width || (abs(gap) < 0.022 && edge > 0.16)) discard;
        notch = smoothstep(width, width - 0.022, edge) * smoothstep(0.022, 0.042, max(abs(gap), 0.2 - edge));
        notch = mix(0.62, 1.0, notch);
    }
    vec3 normal = normalize(n), v = normalize(eye_point - world);
    float thread = weave(l);
    vec3 albedo = blazer_colour * mix(0.86, 1.14, thread);
    float roll = smoothstep(0.0, 0.05, edge);
    normal = normalize(normal + vec3(-sign(l.x) * 0.55 * (1.0 - roll), 0.0, 0.0));
    float shade = collar > 0.5 ? 1.0 : mix(0.55, 1.0, smoothstep(0.30, 0.62, edge));
    vec3 c = albedo * shade * notch * diffuse(normal, b.x, b.y, vec3(0.18));
    c += vec3(gloss(normal, v, b.y, b.x, 0.62)) * 0.22 * notch;
    c += vec3(0.05, 0.06, 0.08) * pow(1.0 - clamp(dot(normal, v), 0.0, 1.0), 3.0) * b.x;
    colour = filmic(c);
}
"""


def _smoothed(values: FloatArray, quads: NDArray[np.int64], rounds: int) -> FloatArray:
    """Values [n, k] averaged with their neighbours `rounds` times, so that the cloth spans hollows of the body."""
    n = len(values)
    ends = np.concatenate([np.stack([quads[:, i], quads[:, (i + 1) % 4]], 1) for i in range(4)])
    both = np.concatenate([ends, ends[:, ::-1]])
    graph = sparse.csr_matrix((np.ones(len(both), np.float32), (both[:, 0], both[:, 1])), (n, n))
    degree = np.maximum(np.asarray(graph.sum(1)).ravel(), 1)[:, None]
    for _ in range(rounds):
        values = 0.5 * values + 0.5 * (graph @ values) / degree
    return values.astype(np.float32)


class Clothes:
    """Three shells, from the inside out: top, blazer, lapels.

    They are cut for `mesh`; `onto` moves their vertices [n, 3] onto a body of another shape. `worn` is how many there
    are, `light` the shaders' source of the light.
    """

    def __init__(
        self,
        context: moderngl.Context,
        mesh: HeadMesh,
        bake: FloatArray,
        onto: Callable[[FloatArray], FloatArray] = lambda points: points,
        worn: int = 3,
        light: str = shaders.LIGHT,
    ) -> None:
        quads = mesh.quads[Part.SKIN]
        quads = quads[(mesh.rest[quads][:, :, 1] < -0.70).all(axis=1)]
        # Vertices that differ only in texture coordinates are merged, or smoothing would tear the cloth at them.
        _, used, place = np.unique(np.round(mesh.rest, 5), axis=0, return_index=True, return_inverse=True)
        kept, local = np.unique(place.ravel()[quads], return_inverse=True)
        used, quads = used[kept], local.reshape(-1, 4)
        morph = Morph(mesh)
        normals = morph.normals(mesh.rest)[used]
        body = mesh.rest[used]
        self._programs: list[moderngl.Program] = []
        self._arrays: list[moderngl.VertexArray] = []
        shells = ((TOP, TOP_OFFSET, 3, 0.0), (BLAZER, BLAZER_OFFSET, 14, 0.0), (BLAZER, COLLAR_OFFSET, 14, 1.0))
        for material, offset, rounds, collar in shells[:worn]:
            positions = _smoothed(body, quads, rounds) + np.float32(offset) * _smoothed(normals, quads, rounds)
            faces = np.cross(
                positions[quads[:, 2]] - positions[quads[:, 0]], positions[quads[:, 3]] - positions[quads[:, 1]]
            )
            shell_normals = np.zeros_like(positions)
            for corner in range(4):
                np.add.at(shell_normals, quads[:, corner], faces)
            shell_normals /= np.linalg.norm(shell_normals, axis=1, keepdims=True) + 1e-12
            shell_normals = _smoothed(shell_normals, quads, 2)
            baked = _smoothed(bake[used], quads, 4)
            baked[:, 2] = 0.4 * head_follow_weight(positions) if not collar else 0.0
            data = np.concatenate([onto(positions), shell_normals, positions, baked], axis=1).astype("f4")
            program = context.program(
                vertex_shader=shaders.VERSION + shaders.VERTEX, fragment_shader=shaders.fragment(material, light)
            )
            if "collar" in program:
                program["collar"].value = collar
            fields = (("3f", "position"), ("3f", "normal"), ("3f", "local"), ("4f", "bake"))
            layout = vertex_layout(program, context.buffer(data.tobytes()), fields)
            index = context.buffer(triangles(quads).tobytes())
            self._programs.append(program)
            self._arrays.append(context.vertex_array(program, [layout], index))

    @property
    def programs(self) -> list[moderngl.Program]:
        """One program for each shell."""
        return self._programs

    def draw(self) -> None:
        """Draw all shells into the bound framebuffer."""
        for array in self._arrays:
            array.render()
