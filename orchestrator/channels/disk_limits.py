"""Keeps recordings and log files within the limits of the settings, while the server runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import anyio

from orchestrator.channels.recordings import RecordingsLimit, delete_oldest
from orchestrator.observability.log_files import rotate_logs
from orchestrator.settings import Settings

_EVERY_S = 30.0
_DAY_S = 24 * 3600.0

logger = logging.getLogger(__name__)


class DiskLimits:
    """Applies the limits every 30 s; a fault of the disk is logged once, and never ends the server."""

    def __init__(self, settings: Settings) -> None:
        days = settings.recordings_limit_days
        self._settings = settings
        self._limit = RecordingsLimit(settings.recordings_limit_bytes, None if days is None else days * _DAY_S)
        self._problems: dict[str, str] = {}

    async def run(self) -> None:
        """Apply the limits again and again, until cancelled."""
        while True:
            await asyncio.to_thread(self.apply)
            await anyio.sleep(_EVERY_S)

    def apply(self) -> None:
        """Apply the limits once; blocks."""
        self._attempt("log files", self._rotate)
        self._attempt("recordings", self._delete)

    def _rotate(self) -> None:
        rotate_logs(self._settings.log_dir, self._settings.log_limit_bytes)

    def _delete(self) -> None:
        for path in delete_oldest(self._settings.recordings_dir, self._limit):
            logger.info("deleted the recording %s, to keep the limits of the settings", path)

    def _attempt(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            if self._problems.get(what) != str(error):
                logger.error("the limit of %s can't be kept: %s", what, error)
            self._problems[what] = str(error)
        else:
            self._problems.pop(what, None)
