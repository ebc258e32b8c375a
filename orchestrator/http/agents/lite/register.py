"""The sessions that there are: each is known by a secret that its client got, and by nothing else."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.access.secret import KEY_PREFIX
from orchestrator.channels.channel import Channel

_MOST = 256
_SECRET_BYTES = 32


@dataclass(eq=False)
class LiteSession:
    """One session; `token` begins and ends it, `socket_secret` opens its socket. Logs mask both as they mask keys."""

    stays: Callable[[], bool]
    """Whether the key of whoever asked for it is still there; it neither begins nor goes on without."""
    avatar: str
    room_url: str | None
    room_token: str | None = field(repr=False)
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    token: str = field(default_factory=lambda: KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES), repr=False)
    socket_secret: str = field(default_factory=lambda: KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES), repr=False)
    channel: Channel | None = None
    starting: bool = False
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class LiteSessions:
    """Remembers the newest; one that isn't started is forgotten first."""

    def __init__(self) -> None:
        self._by_token: dict[str, LiteSession] = {}

    def add(self, session: LiteSession) -> None:
        """Remember it."""
        if len(self._by_token) >= _MOST:
            spare = next((each for each in self._by_token.values() if each.channel is None or each.over.is_set()), None)
            del self._by_token[spare.token if spare is not None else next(iter(self._by_token))]
        self._by_token[session.token] = session

    def of_token(self, token: str | None) -> LiteSession | None:
        """The session that this token begins and ends."""
        return None if token is None else self._by_token.get(token)

    def of_socket(self, secret: str) -> LiteSession | None:
        """The running session whose socket this is."""
        for session in self._by_token.values():
            if secrets.compare_digest(session.socket_secret.encode(), secret.encode("utf-8", "surrogatepass")):
                return None if session.channel is None or session.over.is_set() else session
        return None
