"""The presenter's head and bust as subdivided surfaces whose vertices are linear in the face units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.avatar import lashes, makehuman
from training.avatar.subdivision import catmull_clark, split_uvs

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

SHAPE = {
    "macrodetails/caucasian-female-young": 0.8,
    "macrodetails/asian-female-young": 0.2,
    "macrodetails/universal-female-young-averagemuscle-averageweight": 1.0,
    "head/head-oval": 0.35,
    "chin/chin-triangle": 0.15,
    "chin/chin-jaw-drop-decr": 0.2,
    "nose/nose-scale-horiz-decr": 0.25,
    "nose/nose-point-width-decr": 0.3,
    "nose/nose-hump-decr": 0.3,
    "mouth/mouth-scale-horiz-incr": 0.15,
    "mouth/mouth-upperlip-volume-incr": 0.25,
    "mouth/mouth-lowerlip-volume-incr": 0.2,
    "eyes/l-eye-scale-incr": 0.48,
    "eyes/r-eye-scale-incr": 0.48,
    "chin/chin-height-decr": 0.15,
    "forehead/forehead-scale-vert-decr": 0.3,
    "neck/neck-scale-horiz-decr": 0.25,
}
LOWEST, WIDEST = -3.2, 3.4


# The base mesh hides its upper teeth behind the lip and fills the open mouth with the tongue.
MOVED = {"helper-upper-teeth": (0.0, -0.045, 0.010), "helper-tongue": (0.0, -0.060, -0.060)}


class Part(IntEnum):
    """Surfaces that are shaded differently."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3
    LASH = 4


GROUPS = {
    "body": Part.SKIN,
    "helper-l-eye": Part.EYE,
    "helper-r-eye": Part.EYE,
    "helper-upper-teeth": Part.TEETH,
    "helper-lower-teeth": Part.TEETH,
    "helper-tongue": Part.TONGUE,
}


@dataclass(frozen=True)
class HeadMesh:
    """Surfaces in head space: decimetres, the head joint is the origin, x to her left, y up, z to the viewer.

    `rest` [n, 3] positions, `units` name -> [n, 3] offsets, `uvs` [n, 2] of MakeHuman, `local` [n, 3] the coordinates
    that the shaders use (the rest position; for eyes the position on the unit eyeball), `quads` part -> [k, 4], `eyes`
    two rows of vertex indices with their centres [2, 3].
    """

    rest: FloatArray
    units: dict[str, FloatArray]
    uvs: FloatArray
    local: FloatArray
    quads: dict[Part, IntArray]
    eyes: tuple[IntArray, IntArray]
    eye_centres: FloatArray

    def subset(self, keep: NDArray[np.bool_]) -> HeadMesh:
        """The mesh of the faces whose corners are all in `keep` [n]."""
        quads = {part: faces[keep[faces].all(axis=1)] for part, faces in self.quads.items()}
        used = np.unique(np.concatenate([faces.ravel() for faces in quads.values()]))
        place = np.full(len(self.rest), -1, np.int64)
        place[used] = np.arange(len(used))
        left, right = (place[ids][place[ids] >= 0] for ids in self.eyes)
        return HeadMesh(
            rest=self.rest[used],
            units={name: offsets[used] for name, offsets in self.units.items()},
            uvs=self.uvs[used],
            local=self.local[used],
            quads={part: place[faces] for part, faces in quads.items()},
            eyes=(left, right),
            eye_centres=self.eye_centres,
        )

    def vertices_of(self, part: Part) -> IntArray:
        """Indices of the vertices that a part uses."""
        return np.unique(self.quads[part])


@dataclass(frozen=True)
class _Surface:
    operator: sparse.csr_matrix
    quads: IntArray
    uvs: FloatArray
    part: Part
    blink: str | None = None
    """The face unit that moves it `forward` beside what the mesh says."""
    forward: float = 0.0


def _surface(mesh: makehuman.BaseMesh, positions: FloatArray, group: str) -> _Surface:
    quads, uv_quads = mesh.quads[group], mesh.uv_quads[group]
    if group == "body":
        corners = positions[quads]
        inside = (corners[:, :, 1].min(axis=1) > LOWEST) & (np.abs(corners[:, :, 0]).max(axis=1) < WIDEST)
        quads, uv_quads = quads[inside], uv_quads[inside]
    fine = catmull_clark(quads, len(positions))
    uvs, fine_uv_quads = split_uvs(uv_quads, mesh.uvs)
    pairs, corner = np.unique(
        np.stack([fine.quads.ravel(), fine_uv_quads.ravel()], axis=1), axis=0, return_inverse=True
    )
    operator = fine.operator[pairs[:, 0]]
    if GROUPS[group] is Part.EYE:
        operator = _keep_radius(operator, positions, np.unique(quads))
    return _Surface(operator, corner.reshape(-1, 4), uvs[pairs[:, 1]].astype(np.float32), GROUPS[group])


def _keep_radius(operator: sparse.csr_matrix, positions: FloatArray, ring: IntArray) -> sparse.csr_matrix:
    """Undo the shrinking of a ball by subdivision."""
    centre = positions[ring].mean(axis=0)
    before = np.linalg.norm(positions[ring] - centre, axis=1).max()
    after = np.linalg.norm(operator @ positions - centre, axis=1).max()
    mean = sparse.csr_matrix((np.full(ring.size, 1 / ring.size), (np.zeros(ring.size, int), ring)), (1, len(positions)))
    rows = sparse.vstack([mean] * operator.shape[0]).tocsr()
    return (operator * (before / after) + rows * (1 - before / after)).tocsr()


class HeadBuilder:
    """Makes heads of any shape with the same vertices: subdivision is linear, and computed once."""

    def __init__(self, seed: int = 7) -> None:
        """`seed` places the eyelashes."""
        self._base = makehuman.load_base_mesh()
        positions = self._placed(SHAPE)
        self._surfaces = [_surface(self._base, positions, group) for group in GROUPS]
        for strip in lashes.grow(self._base, positions, np.random.default_rng(seed)):
            surface = _Surface(strip.operator, strip.quads, strip.uvs, Part.LASH, strip.blink, strip.forward)
            self._surfaces.append(surface)

    def build(self, shape: Mapping[str, float] = SHAPE) -> HeadMesh:
        """The head with these targets of MakeHuman at these strengths; without any, the presenter's."""
        return _join(self._surfaces, self._placed(shape))

    def _placed(self, shape: Mapping[str, float]) -> FloatArray:
        shaped = makehuman.shaped(self._base, shape)
        positions = shaped - self._base.joint("joint-head", shaped)
        for group, offset in MOVED.items():
            positions[np.unique(self._base.quads[group])] += np.array(offset, np.float32)
        _relax_arms(positions)
        return positions


def _relax_arms(positions: FloatArray) -> None:
    """Bring the arms, which the base mesh spreads, closer to the body."""
    beyond = np.maximum(np.abs(positions[:, 0]) - 0.95, 0)
    positions[:, 0] -= np.sign(positions[:, 0]) * 0.24 * beyond
    positions[:, 1] -= 0.10 * beyond


def _join(surfaces: Sequence[_Surface], positions: FloatArray) -> HeadMesh:
    operator = sparse.vstack([surface.operator for surface in surfaces]).tocsr().astype(np.float32)
    starts = np.cumsum([0] + [surface.operator.shape[0] for surface in surfaces])
    rest = np.asarray(operator @ positions, np.float32)
    quads = {
        part: np.concatenate([s.quads + start for s, start in zip(surfaces, starts, strict=False) if s.part is part])
        for part in Part
    }
    units = {}
    for name in makehuman.face_unit_names():
        target = makehuman.face_unit(name)
        offsets = np.zeros_like(positions)
        offsets[target.vertices] = target.offsets
        units[name] = np.asarray(operator @ offsets, np.float32)
    for surface, start, end in zip(surfaces, starts, starts[1:], strict=False):
        if surface.blink is not None:
            units[surface.blink][start:end, 2] += surface.forward
    local = rest.copy()
    eyes = []
    centres = []
    for index in (1, 2):
        ids = np.arange(starts[index], starts[index + 1])
        centre = (rest[ids].min(axis=0) + rest[ids].max(axis=0)) / 2
        radius = np.ptp(rest[ids], axis=0)[1] / 2
        local[ids] = (rest[ids] - centre) / radius
        eyes.append(ids)
        centres.append(centre)
    return HeadMesh(
        rest=rest,
        units=units,
        uvs=np.concatenate([surface.uvs for surface in surfaces]),
        local=local,
        quads=quads,
        eyes=(eyes[0], eyes[1]),
        eye_centres=np.array(centres, np.float32),
    )
