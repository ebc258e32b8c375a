"""Keeps the log files of child processes within a limit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

KEPT = 4


def rotate_logs(folder: Path, limit_bytes: int) -> None:
    """Moves what is in each `NAME.log` above the limit to `NAME.log.1`, and older parts on, up to `NAME.log.4`.

    The child keeps the file open for appending, so it is copied and emptied; a line that is written in between is lost.
    On a full disk it is emptied without a copy. Raises OSError.
    """
    for path in sorted(folder.glob("*.log")):
        if path.stat().st_size <= limit_bytes:
            continue
        for number in range(KEPT, 1, -1):
            older = path.with_name(f"{path.name}.{number - 1}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number}"))
        copy = path.with_name(f"{path.name}.1")
        try:
            shutil.copyfile(path, copy)
        except OSError:
            copy.unlink(missing_ok=True)
            raise
        finally:
            os.truncate(path, 0)
