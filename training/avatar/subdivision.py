"""Catmull–Clark subdivision of a quad mesh as a linear operator, applied only once to each morph target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Subdivision:
    """One level of subdivision: `operator` [new, old] maps positions, `quads` [4k, 4] are the new faces."""

    operator: sparse.csr_matrix
    quads: IntArray


def _incidence(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> sparse.csr_matrix:
    values = np.ones(rows.size, np.float32)
    return sparse.csr_matrix((values, (rows.ravel(), columns.ravel())), shape=shape)


def _edges(quads: IntArray) -> tuple[IntArray, IntArray]:
    """Unique edges [e, 2] and, for each corner of each quad, the edge from it to the next corner [k, 4]."""
    pairs = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1), axis=-1)
    edges, inverse = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    return edges, inverse.reshape(quads.shape)


def _children(quads: IntArray, edge_of: IntArray, vertices: int, edges: int) -> IntArray:
    faces = np.broadcast_to(vertices + edges + np.arange(len(quads))[:, None], quads.shape)
    before = np.roll(edge_of, 1, axis=1)
    return np.asarray(np.stack([quads, vertices + edge_of, faces, vertices + before], axis=-1).reshape(-1, 4))


def catmull_clark(quads: IntArray, vertex_count: int) -> Subdivision:
    """Catmull and Clark (1978), with boundary edges kept as cubic B-spline curves.

    Vertices that no quad uses keep their positions.
    """
    edges, edge_of = _edges(quads)
    n, e, k = vertex_count, len(edges), len(quads)
    face_rows = np.repeat(np.arange(k), 4)
    face_points = _incidence(face_rows, quads, (k, n)) * 0.25
    edge_ends = _incidence(np.repeat(np.arange(e), 2), edges, (e, n))
    edge_faces = _incidence(edge_of, face_rows, (e, k))
    border = np.asarray(edge_faces.sum(axis=1)).ravel() < 2
    inner = sparse.diags((~border).astype(np.float32))
    midpoints = edge_ends * 0.5
    edge_points = (
        inner @ ((edge_ends + edge_faces @ face_points) * 0.25) + sparse.diags(border.astype(np.float32)) @ midpoints
    )

    vertex_faces = _incidence(quads, face_rows, (n, k))
    valence = np.maximum(np.asarray(vertex_faces.sum(axis=1)).ravel(), 1.0)
    vertex_edges = edge_ends.T.tocsr()
    edge_valence = np.maximum(np.asarray(vertex_edges.sum(axis=1)).ravel(), 1.0)
    identity = sparse.identity(n, dtype=np.float32, format="csr")
    smooth = (
        sparse.diags(1 / valence**2) @ vertex_faces @ face_points
        + sparse.diags(2 / (valence * edge_valence)) @ vertex_edges @ midpoints
        + sparse.diags((valence - 3) / valence) @ identity
    )
    border_ends = edge_ends[border]
    on_border = np.asarray(border_ends.sum(axis=0)).ravel() > 0
    unused = np.asarray(vertex_faces.sum(axis=1)).ravel() == 0
    curve = 0.125 * (border_ends.T @ border_ends) + 0.5 * identity
    vertex_points = (
        sparse.diags((~on_border & ~unused).astype(np.float32)) @ smooth
        + sparse.diags((on_border & ~unused).astype(np.float32)) @ curve
        + sparse.diags(unused.astype(np.float32)) @ identity
    )
    operator = sparse.vstack([vertex_points, edge_points, face_points]).tocsr().astype(np.float32)
    return Subdivision(operator, _children(quads, edge_of, n, e))


def split_uvs(uv_quads: IntArray, uvs: NDArray[np.float32]) -> tuple[NDArray[np.float32], IntArray]:
    """The same subdivision for texture coordinates, linear, in the same order of faces: [m, 2] and quads [4k, 4]."""
    edges, edge_of = _edges(uv_quads)
    middle = uvs[edges].mean(axis=1)
    centre = uvs[uv_quads].mean(axis=1)
    return np.concatenate([uvs, middle, centre]), _children(uv_quads, edge_of, len(uvs), len(edges))
