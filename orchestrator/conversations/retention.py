"""Files of days are deleted after their time, by a clock that is doubted where it is far ahead of what was seen."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.clock import Clock
from orchestrator.private_file import write_private

FILES = "????-??-??.jsonl"
_NOTE = "clock.json"
_DAY_S = 86_400.0
_JUMP_S = 7 * _DAY_S
_DOUBTED_S = _DAY_S
_NOTED_AFTER_S = 3600.0  # it looks after each message, too

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seen:
    """The last time that was believed, and since when, by the clock itself, a later one is doubted. Unix seconds."""

    believed: float
    doubted_since: float | None = None


class Retention:
    """Deletes a day's file once that day is `days` ago.

    A machine whose clock is wrong at its start would delete everything at once. So the time is noted beside the files,
    and where it is more than a week later than the note (or, without one, than the newest file) nothing is deleted for
    a day, in which the clock can be set right: nobody knows otherwise whether the server was off for so long.
    """

    def __init__(self, folder: Path, days: int, clock: Clock, wall: Callable[[], float] = time.time) -> None:
        """`clock` never jumps, and keeps the error that the machine's clock, `wall`, had at the server's start."""
        self._folder = folder
        self._days = days
        self._clock = clock
        self._wall = wall

    def delete_old(self) -> None:
        """What can't be deleted is told, and holds up neither the rest nor what is to be written."""
        paths = sorted(self._folder.glob(FILES))
        if not paths:
            return
        now = min(self._clock(), self._wall())
        noted = _noted(self._folder / _NOTE)
        newest = next((end for path in reversed(paths) if (end := _end_of(path)) is not None), now)
        seen = self._looked(now, noted or _Seen(newest))
        if noted is None or seen.doubted_since != noted.doubted_since or abs(now - noted.believed) > _NOTED_AFTER_S:
            self._note(seen)
        if seen.doubted_since is not None:
            return
        oldest = (datetime.fromtimestamp(now, UTC) - timedelta(days=self._days)).date().isoformat()
        for path in paths:
            if path.stem < oldest:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    logger.error("%s is too old, and can't be deleted (%s)", path, error.strerror)

    def _note(self, seen: _Seen) -> None:
        try:
            write_private(self._folder / _NOTE, json.dumps(asdict(seen)))
        except OSError as error:
            logger.error("%s can't be written (%s)", self._folder / _NOTE, error.strerror)

    def _looked(self, now: float, seen: _Seen) -> _Seen:
        if now - seen.believed <= _JUMP_S:
            return _Seen(now)
        since = seen.doubted_since
        if since is None or now < since:  # in the latter case it was wrong, and may still be
            logger.warning(
                "%s: the clock is %.0f days ahead of the last time that was seen: nothing is deleted for a day. "
                "Set it right where it is wrong",
                self._folder, (now - seen.believed) / _DAY_S,
            )  # fmt: skip
            return _Seen(seen.believed, now)
        return seen if now - since < _DOUBTED_S else _Seen(now)


def _noted(note: Path) -> _Seen | None:
    try:
        values = json.loads(note.read_text())
        since = values["doubted_since"]
        return _Seen(float(values["believed"]), None if since is None else float(since))
    except (OSError, ValueError, TypeError, KeyError):  # none yet, or damaged: the files tell
        return None


def _end_of(path: Path) -> float | None:
    try:
        return datetime.fromisoformat(path.stem).replace(tzinfo=UTC).timestamp() + _DAY_S
    except ValueError:  # of no day, as 2026-99-99
        return None
