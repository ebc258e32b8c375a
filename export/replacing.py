"""Replaces a folder by another in one step."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # of linux/fs.h


def replace_folder(fresh: Path, target: Path) -> None:
    """Moves `fresh` to `target`; an old folder there is at `fresh` afterwards. Both must be on one file system.

    A reader of `target` finds either the old or the new folder. Only where the kernel or the file system can't exchange
    two names, `target` is missing for a moment.
    """
    if not target.exists():
        fresh.rename(target)
    elif not _exchanged(fresh, target):
        aside = fresh.with_name(f"{fresh.name}-replaced")
        target.rename(aside)
        fresh.rename(target)
        aside.rename(fresh)


def _exchanged(one: Path, other: Path) -> bool:
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # not glibc, or an old one
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)
