"""One video from its order to its file: begun once, looked at until it is ready, fetched."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from filming.service import FilmError, FilmFault, FilmProgress, FilmService, ServiceAway

_FIRST_LOOK_S, _LONGEST_LOOK_S = 1.0, 10.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
_NO_ROOM_PAUSE_S = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FilmLimits:
    """How long a service may take, how long it may be away meanwhile, and how large its video may be."""

    seconds: float = 1800.0
    away_s: float = 300.0
    most_bytes: int = 500_000_000


async def filmed(
    service: FilmService,
    job: str,
    into: Path,
    limits: FilmLimits,
    tell: Callable[[FilmProgress], None],
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Wait for a job that was begun, and write its video; raises FilmError, and OSError for a disk that fails.

    A service that can't be reached for a while is looked for again: the video is paid for, and its job goes on. For the
    same reason a video for which there is no room is fetched again each minute, for as long as the service has it; what
    came of it until then is removed.
    """
    until = clock() + limits.seconds
    away_since: float | None = None
    pause_s = _FIRST_LOOK_S
    while True:
        try:
            progress = await service.look(job)
            away_since = None
            tell(progress)
            if progress.ready:
                if await _fetched(service, job, into, limits.most_bytes):
                    return
                await sleep(_NO_ROOM_PAUSE_S)
                continue
            wait_s = pause_s
        except ServiceAway as error:
            now = clock()
            away_since = now if away_since is None else away_since
            if now - away_since >= limits.away_s:
                raise
            logger.warning("film %s: %s", job, error.message)
            wait_s = min(error.after_s or pause_s, limits.away_s)
        if clock() + wait_s > until:
            message = f"The video wasn't ready after {limits.seconds:g} s, the limit of film_timeout_s."
            raise FilmError(FilmFault.LATE, message)
        await sleep(wait_s)
        pause_s = min(pause_s * 1.5, _LONGEST_LOOK_S)


async def _fetched(service: FilmService, job: str, into: Path, most_bytes: int) -> bool:
    """False where there is no room for the video now; raises FilmError and OSError. No half file is left."""
    try:
        await service.fetch(job, into, most_bytes)
    except OSError as error:
        await asyncio.to_thread(into.unlink, missing_ok=True)
        if error.errno not in _NO_ROOM:
            raise
        logger.error(
            "film %s is ready, and there is no room for it here (%s): it is fetched later", job, error.strerror
        )
        return False
    return True
