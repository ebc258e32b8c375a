"""Hair combed back from the brow, as single strands with Kajiya and Kay's shading (1989)."""

from __future__ import annotations

from collections.abc import Callable

import moderngl
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from training.avatar import shaders
from training.avatar.head_mesh import HeadMesh, Part
from training.avatar.scalp import head_follow_weight, scalp_height

FloatArray = NDArray[np.float32]

STRANDS, POINTS = 6400, 11
LONG_STRANDS = 2000
CHEEK_STRANDS = 900
SKULL_CENTRE = np.array([0.0, 0.42, -0.12])
COMB_TARGET = np.array([0.0, -0.12, -1.0])
PARTING_X = 0.16

VERTEX = """
in vec3 position; in vec3 tangent; in vec4 strand;
uniform mat4 clip; uniform mat4 head; uniform vec3 breath;
out vec3 world, along; out vec4 s;
// strand: position from root to tip, tone of the strand, light that reaches it, weight with which it follows the head.
void main() {
    vec3 still = position;
    still.y += breath.x * smoothstep(-0.9, -1.5, position.y);
    world = mix(still, (head * vec4(position, 1)).xyz, strand.w);
    along = mat3(head) * tangent; s = strand;
    gl_Position = clip * vec4(world, 1);
}
"""

FRAGMENT = """
in vec3 world, along; in vec4 s; out vec4 colour;
uniform vec3 hair_colour;
float sheen(vec3 t, vec3 v, vec3 l, float shift, vec3 n, float power) {
    float d = dot(normalize(t + n * shift), normalize(v + l));
    return pow(sqrt(max(1.0 - d * d, 0.0)), power);
}
void main() {
    vec3 t = normalize(along), v = normalize(eye_point - world);
    vec3 n = normalize(world - vec3(0.0, 0.25, -0.12));
    vec3 albedo = hair_colour * mix(0.55, 1.75, s.y);
    float reach = s.z;
    float key = sqrt(max(1.0 - pow(dot(t, KEY), 2.0), 0.0)) * clamp(dot(n, KEY) * 0.7 + 0.45, 0.0, 1.0);
    float rim = clamp(dot(n, RIM_R) + 0.35, 0.0, 1.0), cool = clamp(dot(n, RIM_L) + 0.35, 0.0, 1.0);
    vec3 c = albedo * (key * KEY_COLOUR * 1.1 + mix(GROUND, SKY, n.y * 0.5 + 0.5) * 1.1 + FILL_COLOUR * 0.5) * reach;
    float gate = clamp(dot(n, KEY) + 0.35, 0.0, 1.0) * reach;
    c += KEY_COLOUR * gate * (0.055 * sheen(t, v, KEY, -0.10 + 0.16 * s.y, n, 70.0)
        + 0.09 * sheen(t, v, KEY, 0.12 + 0.20 * s.y, n, 22.0) * normalize(hair_colour + 0.02));
    c += reach * (RIM_COLOUR * rim * (albedo * 0.9 + 0.040 * sheen(t, v, RIM_R, 0.0, n, 14.0))
        + RIM_COOL * cool * (albedo * 0.7 + 0.035 * sheen(t, v, RIM_L, 0.0, n, 14.0)));
    colour = filmic(c);
}
"""


def _on_ear(places: FloatArray) -> NDArray[np.bool_]:
    x, y, z = np.abs(places[:, 0]), places[:, 1], places[:, 2]
    return np.asarray((x > 0.715) & (y < 0.46) & (z > -0.30) & (z < 0.32))


def _roots(mesh: HeadMesh, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], FloatArray]:
    """Evenly distributed positions [count, 3] on the scalp, and their heights above the hairline [count]."""
    quads = mesh.quads[Part.SKIN]
    corners = mesh.rest[quads]
    centre = corners.mean(axis=1)
    outer = np.linalg.norm(centre - SKULL_CENTRE, axis=1) > 0.62
    inside = (scalp_height(centre) > -0.01) & outer & (centre[:, 1] > -0.6) & ~_on_ear(centre)
    corners = corners[inside]
    area = np.linalg.norm(np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]), axis=1)
    # More strands at the hairline, which is the most visible part.
    area = area * (1 + 2.5 * np.exp(-((scalp_height(centre[inside]) / 0.10) ** 2)))
    pick = rng.choice(len(corners), count, p=area / area.sum())
    a, b = rng.random((2, count, 1))
    p = corners[pick]
    places = (p[:, 0] * (1 - a) + p[:, 1] * a) * (1 - b) + (p[:, 3] * (1 - a) + p[:, 2] * a) * b
    return places.astype(np.float64), scalp_height(places)


class _Skull:
    """The distance of the skin from the centre of the skull, for any direction."""

    def __init__(self, mesh: HeadMesh) -> None:
        points = mesh.rest[mesh.vertices_of(Part.SKIN)]
        points = points[(points[:, 1] > -0.75) & (np.abs(points[:, 0]) < 0.82)]
        offset = points - SKULL_CENTRE
        radius = np.linalg.norm(offset, axis=1)
        keep = radius > 0.6
        self._tree = cKDTree(offset[keep] / radius[keep, None])
        self._radius = radius[keep]

    def radius(self, directions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distances [...] for unit directions [..., 3], smoothed over their neighbourhood."""
        distance, index = self._tree.query(directions, k=24)
        weight = np.exp(-((distance / 0.09) ** 2)) + 1e-9
        return np.asarray((self._radius[index] * weight).sum(-1) / weight.sum(-1))


def _unit(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(v / np.linalg.norm(v, axis=-1, keepdims=True))


def _combed_strands(mesh: HeadMesh, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Strands that lie on the skull from their root to the nape: points [k, p, 3], light that reaches them [k, p]."""
    roots, height = _roots(mesh, STRANDS, rng)
    skull = _Skull(mesh)
    start = _unit(roots - SKULL_CENTRE)
    side = np.tanh((roots[:, 0] - PARTING_X) * 9)
    goal = np.broadcast_to(COMB_TARGET, start.shape) + np.stack(
        [0.35 * side + 0.2 * roots[:, 0], rng.normal(0, 0.06, len(roots)), 0 * side], axis=1
    )
    goal = _unit(goal)
    clump = rng.normal(0, 1, (64, 3))
    group = rng.integers(0, 64, len(roots))
    s = np.linspace(0, 1, POINTS)[None, :, None] ** 1.15
    angle = np.arccos(np.clip((start * goal).sum(-1), -0.999, 0.999))[:, None, None]
    path = (np.sin((1 - s) * angle) * start[:, None] + np.sin(s * angle) * goal[:, None]) / np.sin(angle)
    # From the parting, hair goes to either side before it goes back.
    front = np.clip(start[:, 2] + 0.25, 0, 1)[:, None, None]
    sideways = np.stack([side, 0.10 - 0 * side, 0 * side], axis=1)[:, None] * np.sin(np.pi * s) ** 0.8
    path = path + 0.34 * front * sideways + 0.020 * clump[group][:, None] * np.sin(np.pi * s)
    path = _unit(path)
    depth = 0.3 + 0.7 * rng.random(len(roots))[:, None]
    bulk = 0.020 + 0.085 * np.clip(start[:, 1:2] + 0.15, 0, 1) * np.clip(height, 0, 0.25)[:, None] / 0.25
    bulk = bulk + 0.055 * front[:, :, 0] * np.clip(start[:, 1:2], 0, 1)
    t = s[:, :, 0]
    lift = 0.004 + bulk * (0.35 + 0.65 * depth) * np.sin(np.clip(t * 1.5 + 0.02, 0, 1) * np.pi / 2) ** 0.8
    lift = lift + 0.010 * rng.normal(0, 1, (len(roots), 1)) * t
    points = SKULL_CENTRE + path * (skull.radius(path) + lift)[..., None]
    light = (0.45 + 0.55 * depth) * np.clip(0.45 + 3.5 * lift / 0.08, 0, 1) * np.ones_like(t)
    # Outermost strands first, so that those below fail the depth test before they are shaded.
    order = np.argsort(-depth[:, 0])
    return points[order], light[order]


def _long_strands(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Long strands that come from behind the ears and fall behind the shoulders."""
    k = LONG_STRANDS
    side = np.where(rng.random(k) < 0.5, -1.0, 1.0)
    spread, depth = rng.random((2, k))
    lock = rng.integers(0, 22, k)
    phase = rng.uniform(0, 2 * np.pi, 22)[lock]
    t = np.linspace(0, 1, POINTS)[None]
    top = np.stack([side * (0.60 + 0.14 * spread), 0.42 - 0.25 * spread, -0.42 - 0.25 * depth], axis=1)
    bend = np.stack([side * (0.56 + 0.22 * spread), -0.35 + 0 * spread, -0.34 - 0.22 * depth], axis=1)
    end = np.stack([side * (0.44 + 0.42 * spread), -1.75 - 0.2 * depth, -0.30 - 0.40 * depth], axis=1)
    a, b, c = (x[:, None] for x in (top, bend, end))
    u = t[..., None]
    points = (1 - u) ** 2 * a + 2 * u * (1 - u) * (2 * b - 0.5 * a - 0.5 * c) + u**2 * c
    wave = 0.035 * np.sin(2 * np.pi * 1.25 * t + phase[:, None]) * t
    points[..., 0] += side[:, None] * wave + 0.018 * rng.normal(size=(k, 1)) * t
    light = (0.25 + 0.60 * spread[:, None]) * (0.55 + 0.45 * (1 - depth[:, None])) * (1 - 0.25 * t)
    order = np.argsort(-points[:, :, 2].mean(axis=1))
    return points[order], light[order]


def _cheek_strands(
    mesh: HeadMesh, share: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Strands that fall from the temples before the ears, over the edge of the cheeks and the jaw."""
    k = round(CHEEK_STRANDS * share)
    side = np.where(rng.random(k) < 0.5, -1.0, 1.0)
    # How far a side's hair falls towards the mouth: both sides differ, as they do in life.
    inward = np.where(side < 0, rng.uniform(0.0, 0.22), rng.uniform(0.0, 0.22))
    depth, along = rng.random((2, k))
    lock = rng.integers(0, 9, k)
    phase = rng.uniform(0, 2 * np.pi, 9)[lock]
    t = np.linspace(0, 1, POINTS)[None]
    spread = 0.16 * (along - 0.5)
    # Directions from the skull's centre at the temple, at the cheek, and below the jaw.
    top = np.stack([side * (0.52 - 0.03 * depth), 0.46 + spread, 0.36 + 0.16 * along], axis=1)
    bend = np.stack([side * (0.72 - inward), -0.30 + 0 * spread, 0.48 + spread], axis=1)
    end = np.stack([side * (0.62 - 0.8 * inward), -1.15 - 0.2 * depth, 0.42 + 1.4 * spread], axis=1)
    a, b, c = (x[:, None] for x in (top, bend, end))
    u = t[..., None]
    path = (1 - u) ** 2 * a + 2 * u * (1 - u) * (2 * b - 0.5 * a - 0.5 * c) + u**2 * c
    path[..., 0] += side[:, None] * (0.03 * np.sin(2 * np.pi * 1.1 * t + phase[:, None]) * t)
    lift = 0.025 + 0.055 * depth[:, None] + 0.012 * rng.normal(size=(k, 1)) * t
    # On the head as far as there is one: below the jaw hair hangs.
    direction = _unit(path)
    skin = _Skull(mesh).radius(direction)
    radius = np.where(SKULL_CENTRE[1] + direction[..., 1] * skin > -0.55, skin, np.linalg.norm(path, axis=-1)) + lift
    points = SKULL_CENTRE + direction * np.maximum.accumulate(radius, axis=1)[..., None]
    light = (0.45 + 0.55 * depth[:, None]) * np.ones_like(t)
    order = np.argsort(-depth)
    return points[order], light[order]


def _visible(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each segment [k, p - 1] can be visible to the viewer in any pose of the idle clip."""
    middle = (points[:, 1:] + points[:, :-1]) / 2
    outward = _unit(middle - SKULL_CENTRE)
    hidden = (outward[..., 2] < -0.30) & (middle[..., 1] > -0.10) & (np.abs(middle[..., 0]) < 0.80)
    return np.asarray(~hidden)


class Hair:
    """All strands as ribbons that face the viewer.

    They grow on `mesh`; `onto` moves their points [n, 3] onto a head of another shape. `long` adds those that fall
    behind the shoulders, `cheeks` (0 to 1) those that fall before the ears; `light` is the source of the shaders'
    light.
    """

    def __init__(
        self,
        context: moderngl.Context,
        mesh: HeadMesh,
        seed: int = 23,
        onto: Callable[[FloatArray], FloatArray] = lambda points: points,
        long: bool = True,
        light: str = shaders.LIGHT,
        cheeks: float = 0.0,
    ) -> None:
        rng = np.random.default_rng(seed)
        parts = [_combed_strands(mesh, rng), *([_long_strands(rng)] if long else [])]
        if cheeks:
            parts.append(_cheek_strands(mesh, cheeks, np.random.default_rng((32, seed))))
        points = np.concatenate([p for p, _ in parts])
        reached = np.concatenate([reach for _, reach in parts])
        count = len(points)
        tangent = _unit(np.gradient(points, axis=1))
        across = _unit(np.cross(tangent, _unit(np.array([0, 0, 10.0]) - points)))
        t = np.broadcast_to(np.linspace(0, 1, POINTS), (count, POINTS))
        taper = np.clip(0.12 + t * 4.5, 0, 1) * np.clip((1.02 - t) * 6, 0, 1)
        width = 0.0068 * rng.uniform(0.7, 1.25, (count, 1)) * taper
        tone = np.broadcast_to(np.clip(rng.normal(0.42, 0.20, (count, 1)), 0, 1), (count, POINTS))
        follow = head_follow_weight(points.reshape(-1, 3)).reshape(count, POINTS)
        head_weight = np.maximum(follow, 1 - 1.0 * (points[..., 1] < -0.3))
        strand = np.stack([t, tone, reached, head_weight], axis=-1)
        points = onto(points.reshape(-1, 3).astype(np.float32)).reshape(points.shape).astype(np.float64)
        corners = [
            np.concatenate([points + sign * across * width[..., None], tangent, strand], axis=-1) for sign in (-1, 1)
        ]
        vertices = np.stack(corners, axis=2).reshape(-1, 10).astype("f4")
        index = np.arange(count * POINTS * 2).reshape(count, POINTS, 2)
        a, b, c, d = index[:, :-1, 0], index[:, :-1, 1], index[:, 1:, 0], index[:, 1:, 1]
        triangles = np.stack([a, b, c, b, d, c], axis=-1)[_visible(points)].astype("i4")
        self._program = context.program(
            vertex_shader=shaders.VERSION + VERTEX, fragment_shader=shaders.VERSION + light + FRAGMENT
        )
        self._array = context.vertex_array(
            self._program,
            [(context.buffer(vertices.tobytes()), "3f 3f 4f", "position", "tangent", "strand")],
            context.buffer(triangles.tobytes()),
        )

    @property
    def programs(self) -> list[moderngl.Program]:
        """The one program of the strands."""
        return [self._program]

    def draw(self) -> None:
        """Draw all strands into the bound framebuffer."""
        self._array.render()
