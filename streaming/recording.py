"""A recording on a disk that others need too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

_ROOM = 1.1
"""Recording resumes when this much more than the reserve is free, or it would stop again at once."""


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class DiskReserve:
    """Says when a disk has less free space than a recording must leave to others."""

    def __init__(self, folder: Path, reserve_bytes: int, free: Callable[[Path], int] = _free_bytes) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._free = free
        self._low = False

    def problem(self) -> str:
        """Why nothing may be recorded now; empty when it may."""
        try:
            free = self._free(self._folder)
        except OSError as error:
            return f"the folder of the recording cannot be used: {error.strerror}"
        self._low = free < self._reserve_bytes * (_ROOM if self._low else 1)
        if not self._low:
            return ""
        return f"the disk has less free space than the reserve of {self._reserve_bytes / 1e6:.0f} MB"


def remove_if_empty(path: Path) -> None:
    """Removes the file of an attempt that recorded nothing, as on a full disk; raises OSError."""
    if path.is_file() and path.stat().st_size == 0:
        path.unlink()
