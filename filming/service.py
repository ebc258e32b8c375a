"""Who makes a video of a picture, as the one who orders it knows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

LARGEST_PICTURE_BYTES = 20_000_000
MOST_PROMPT_CHARS = 2000


class FilmFault(StrEnum):
    """Why there is no video; stable codes."""

    AWAY = "film_service_away"
    """It can't be reached, or is overloaded: the same order may work later."""
    REFUSED = "film_refused"
    """It doesn't take the order, as a picture or a text that its rules forbid, or a key."""
    FAILED = "film_failed"
    """It took the order and gave up, or what it answers can't be used."""
    LATE = "film_late"
    """It wasn't ready within the limit."""
    LOST = "film_lost"
    """It doesn't know the job any more, or nobody knows whether it was ordered."""


class FilmError(RuntimeError):
    """There is no video; `message` is for the person who ordered it."""

    def __init__(self, fault: FilmFault, message: str) -> None:
        # It may quote the service, whose JSON can hold half a character: UTF-8 can't.
        message = message.encode("utf-8", "replace").decode()
        super().__init__(message)
        self.fault = fault
        self.message = message


class ServiceAway(FilmError):
    """What may work at the next look, in `after_s` where the service named a time."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(FilmFault.AWAY, message)
        self.after_s = after_s


@dataclass(frozen=True)
class FilmOrder:
    """A picture (.png, .jpg or .webp) and what the person in it does, in words; a seed makes it repeatable."""

    picture: Path
    prompt: str
    seed: int = 0


@dataclass(frozen=True)
class FilmProgress:
    """Whether the video is ready, and how much of it is made: 0 … 1, None where the service doesn't say."""

    ready: bool
    share: float | None = None


class FilmService(Protocol):
    """One service. A job's id is all that is needed to go on with it, also after a restart of this server."""

    @property
    def outlives_server(self) -> bool:
        """Whether a job goes on while this server is down; else it must be begun again."""
        ...

    async def begin(self, order: FilmOrder) -> str:
        """Order a video, once: nothing is tried again that might be paid for twice. Raises FilmError."""
        ...

    async def look(self, job: str) -> FilmProgress:
        """How far it is; raises ServiceAway where another look may work, else FilmError."""
        ...

    async def fetch(self, job: str, into: Path, most_bytes: int) -> None:
        """Write the video of a job that is ready to a file; raises ServiceAway, FilmError and OSError.

        After each of these the job can be fetched again, as far as the service still has it.
        """
        ...

    async def stop(self, job: str) -> None:
        """The video isn't wanted any more. Says nothing of whether it worked."""
        ...

    async def aclose(self) -> None:
        """Give its connections back."""
        ...
