"""Eyelashes: single hairs along MakeHuman's lash strips, so that they move with the lids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.avatar.makehuman import BaseMesh

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class LashStyle:
    """Number of hairs of a lid, half their width as a share of the lid, and their length as a share of the strip's.

    `forward` is how far a closed lid moves them towards the viewer, in decimetres.
    """

    count: int
    half_width: float
    length: float
    forward: float


# MakeHuman's blink leaves the roots of the upper lashes under the lower lid and lets the lower ones through the upper
# lid, which together look like a crack between the lids.
UPPER = LashStyle(count=90, half_width=0.0065, length=1.0, forward=0.03)
LOWER = LashStyle(count=46, half_width=0.0038, length=0.55, forward=-0.05)


@dataclass(frozen=True)
class LashStrip:
    """Hairs of one lid: rows over the base mesh's vertices, faces, and (place along the lid, root-to-tip) as uvs.

    The face unit `blink` at full strength also moves them `forward`.
    """

    operator: sparse.csr_matrix
    quads: IntArray
    uvs: FloatArray
    blink: str
    forward: float


def grow(mesh: BaseMesh, positions: FloatArray, rng: np.random.Generator) -> Iterator[LashStrip]:
    """Hairs for the four lids."""
    for side, blink in (("l", "eyeBlinkLeft"), ("r", "eyeBlinkRight")):
        yield _strip(mesh, positions, f"helper-{side}-eyelashes-2", blink, UPPER, rng)
        yield _strip(mesh, positions, f"helper-{side}-eyelashes-1", blink, LOWER, rng)


def _strip(
    mesh: BaseMesh, positions: FloatArray, group: str, blink: str, style: LashStyle, rng: np.random.Generator
) -> LashStrip:
    count = style.count
    grid = _grid(mesh.quads[group], positions)
    along = np.linspace(0.02, 0.985, count) + rng.uniform(-0.005, 0.005, count)
    lean = 0.07 * (along - 0.5) + rng.normal(0, 0.012, count)
    length = style.length * rng.uniform(0.60, 1.0, count) * (0.60 + 0.40 * np.sin(np.pi * np.clip(along, 0, 1)) ** 0.5)
    steps = np.array([0.0, 0.35, 0.7, 1.0])
    width = style.half_width * np.array([1.0, 0.85, 0.55, 0.12])
    u = along[:, None] + lean[:, None] * steps[None] ** 1.5
    v = np.broadcast_to(length[:, None] * steps[None], u.shape)
    places = np.stack([np.stack([u - width, v], -1), np.stack([u + width, v], -1)], axis=2)
    operator = _rows(grid, np.clip(places.reshape(-1, 2), 0, 1), len(positions))
    index = np.arange(count * 8).reshape(count, 4, 2)
    quads = np.stack([index[:, :-1, 0], index[:, :-1, 1], index[:, 1:, 1], index[:, 1:, 0]], axis=-1).reshape(-1, 4)
    root_to_tip = np.broadcast_to(steps[None, :, None], (count, 4, 2))
    uvs = np.stack([places[..., 0], root_to_tip], axis=-1).reshape(-1, 2).astype(np.float32)
    return LashStrip(operator, quads, uvs, blink, style.forward)


def _grid(quads: IntArray, positions: FloatArray) -> IntArray:
    """Vertices of a strip as [root to tip, nose to temple], found by walking its quads from a corner."""
    faces_at: dict[int, list[list[int]]] = {}
    for quad in quads.tolist():
        for vertex in quad:
            faces_at.setdefault(vertex, []).append(quad)
    corner = next(vertex for vertex, faces in faces_at.items() if len(faces) == 1)
    first = faces_at[corner][0]
    k = first.index(corner)
    row, above = _walk(faces_at, corner, first[(k + 1) % 4], first[k - 1])
    rows = [row]
    while above:
        rows.append(above)
        row, above = _walk_next(faces_at, rows[-2], rows[-1])
    grid = np.array(rows)
    if grid.shape[0] > grid.shape[1]:
        grid = grid.T
    eye = positions[grid].mean(axis=(0, 1)) - np.array([0, 0, 0.25])
    first, last = (np.linalg.norm(positions[grid[row]] - eye, axis=1).mean() for row in (0, -1))
    if first > last:
        grid = grid[::-1]
    if abs(positions[grid[0, 0], 0]) > abs(positions[grid[0, -1], 0]):
        grid = grid[:, ::-1]
    return np.ascontiguousarray(grid)


def _walk(faces_at: dict[int, list[list[int]]], start: int, along: int, across: int) -> tuple[list[int], list[int]]:
    """A row of vertices from `start` through `along`, and the neighbouring row that begins with `across`."""
    row, beside = [start, along], [across]
    used: set[tuple[int, ...]] = set()
    while True:
        face = next(f for f in faces_at[row[-2]] if {row[-2], row[-1], beside[-1]} <= set(f))
        used.add(tuple(face))
        beside.append(next(v for v in face if v not in (row[-2], row[-1], beside[-1])))
        step = [f for f in faces_at[row[-1]] if beside[-1] in f and tuple(f) not in used]
        if not step:
            return row, beside
        k = step[0].index(row[-1])
        neighbours = (step[0][(k + 1) % 4], step[0][k - 1])
        row.append(neighbours[0] if neighbours[1] == beside[-1] else neighbours[1])


def _walk_next(faces_at: dict[int, list[list[int]]], below: list[int], row: list[int]) -> tuple[list[int], list[int]]:
    """The row above `row`, which lies above `below`; empty where the strip ends."""
    fresh = [f for f in faces_at[row[0]] if row[1] in f and below[0] not in f]
    if not fresh:
        return row, []
    k = fresh[0].index(row[0])
    neighbours = (fresh[0][(k + 1) % 4], fresh[0][k - 1])
    return _walk(faces_at, row[0], row[1], neighbours[0] if neighbours[1] == row[1] else neighbours[1])


def _rows(grid: IntArray, places: NDArray[np.float64], vertex_count: int) -> sparse.csr_matrix:
    """Bilinear weights of places [k, 2] (along, root to tip; 0..1) over the base mesh's vertices."""
    at = places[:, ::-1] * (np.array(grid.shape) - 1)
    cell = np.minimum(at.astype(int), np.array(grid.shape) - 2)
    f = at - cell
    columns, weights = [], []
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        columns.append(grid[cell[:, 0] + dy, cell[:, 1] + dx])
        weights.append(np.abs(1 - dy - f[:, 0]) * np.abs(1 - dx - f[:, 1]))
    rows = np.tile(np.arange(len(places)), 4)
    return sparse.csr_matrix(
        (np.concatenate(weights), (rows, np.concatenate(columns))), (len(places), vertex_count), dtype=np.float32
    )
