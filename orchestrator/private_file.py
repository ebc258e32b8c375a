"""Small files that hold secrets."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replaces the file atomically, also across a crash; only its owner can read it. Raises OSError."""
    _write(path, text, lambda file: file.replace(path))


def create_private(path: Path, text: str) -> None:
    """As `write_private`, but what is there already stays, also what another process writes meanwhile."""

    def put(file: Path) -> None:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(file)
        file.unlink()

    _write(path, text, put)


def _write(path: Path, text: str, put: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Temporary files are created with mode 0600.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.stem}-", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            put(Path(file.name))
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
