"""Sessions of the page: random tokens that stand for a key for some hours, and end with it."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

LASTS_S = 12 * 3600
_TOKEN_BYTES = 32
_MOST_OF_ONE_KEY = 20


@dataclass(frozen=True)
class _Session:
    key_sha256: str
    ends_at: float


class Sessions:
    """In memory alone, by the hashes of their tokens: they end with the server. Each key has some at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_hash: dict[str, _Session] = {}

    def begin(self, key_sha256: str) -> str:
        """A token for the key; the key's oldest session ends when it has too many."""
        self._forget_ended()
        own = [hashed for hashed, session in self._by_hash.items() if session.key_sha256 == key_sha256]
        for hashed in own[: max(0, len(own) - _MOST_OF_ONE_KEY + 1)]:
            del self._by_hash[hashed]
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._by_hash[_hashed(token)] = _Session(key_sha256, self._clock() + LASTS_S)
        return token

    def key_of(self, token: str) -> str | None:
        """SHA-256 of the key that the token stands for; None when the session has ended or never was."""
        self._forget_ended()
        session = self._by_hash.get(_hashed(token))
        return None if session is None else session.key_sha256

    def end(self, token: str) -> None:
        """Ends the session, if there is one."""
        self._by_hash.pop(_hashed(token), None)

    def _forget_ended(self) -> None:
        now = self._clock()
        while self._by_hash:
            oldest = next(iter(self._by_hash))  # all last equally long
            if self._by_hash[oldest].ends_at > now:
                return
            del self._by_hash[oldest]


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
