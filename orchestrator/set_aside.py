"""Renames damaged files, so that nothing is deleted that may still be readable."""

from __future__ import annotations

from itertools import count
from pathlib import Path


def free_name(path: Path) -> Path:
    """The first free of `name.damaged-1.suffix`, `name.damaged-2.suffix` … beside a file."""
    names = (path.with_name(f"{path.stem}.damaged-{number}{path.suffix}") for number in count(1))
    return next(name for name in names if not name.exists())


def set_aside(path: Path, *companions: str) -> Path:
    """Rename a damaged file, and its companions `path + ending` where they exist; returns the new name.

    Raises OSError.
    """
    kept = free_name(path)
    path.rename(kept)
    for ending in companions:
        companion = path.with_name(path.name + ending)
        if companion.exists():
            companion.rename(kept.with_name(kept.name + ending))
    return kept
