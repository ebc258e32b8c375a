"""Deletes the oldest recordings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SUFFIXES = (".flv", ".ts", ".mp4", ".m3u8")
_IN_USE_S = 120.0
"""A file that was written to in this time is being recorded, and is never deleted."""


@dataclass(frozen=True)
class RecordingsLimit:
    """The most that recordings may take, in bytes, and how old they may become; None: no limit."""

    size_bytes: int | None = None
    age_s: float | None = None


def delete_oldest(folder: Path, limit: RecordingsLimit, clock: Callable[[], float] = time.time) -> list[Path]:
    """Deletes recordings below `folder`, the oldest first, until both limits are kept; returns what was deleted.

    Raises OSError.
    """
    if limit.size_bytes is None and limit.age_s is None:
        return []
    now = clock()
    found = []
    for path in folder.rglob("*"):
        if path.suffix in _SUFFIXES and path.is_file() and not path.is_symlink():
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in found)
    deleted = []
    for written, size, path in sorted(found):
        too_old = limit.age_s is not None and now - written > limit.age_s
        too_much = limit.size_bytes is not None and total > limit.size_bytes
        if now - written < _IN_USE_S or not (too_old or too_much):
            continue
        path.unlink(missing_ok=True)
        total -= size
        deleted.append(path)
    return deleted
