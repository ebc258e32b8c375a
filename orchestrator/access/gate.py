"""Who sends a request, and what their key or session allows."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.access.keys import ApiKey, KeyFile, KeyFileError, Scope
from orchestrator.access.loopback import is_loopback
from orchestrator.access.sessions import Sessions

logger = logging.getLogger(__name__)


class NoKeys(RuntimeError):
    """A key is required and there is none; the message says what to do."""


@dataclass(frozen=True)
class Caller:
    """Who asks: a key's name, or the address where no key is needed or none is known; `scope` None may do nothing.

    `channel` is the only one that the caller may watch, None where that is any. `key` is None where none was needed.
    """

    name: str
    scope: Scope | None
    channel: str | None = None
    key: ApiKey | None = field(default=None, repr=False)


class Gate:
    """Holds the keys and sessions, and knows whether a key is required."""

    def __init__(self, keys_path: Path, required: bool, host: str) -> None:
        """Raises NoKeys when keys are required and there are none, and KeyFileError."""
        self.required = required
        self._keys = KeyFile(keys_path)
        self._sessions = Sessions()
        self._damaged = ""
        if required and not self._keys.all():
            raise NoKeys(
                f"http_host is {host}, a key is required, and {keys_path} has none: "
                "`latentsync-realtime key add NAME --scope administer` makes one"
                + ("" if is_loopback(host) else ", or listen on 127.0.0.1")
            )

    def caller(self, secret: str | None, address: str, session: str | None = None) -> Caller:
        """Who asks from this address: with a key, else with the token of a session."""
        if not self.required:
            return Caller(_network(address), Scope.ADMINISTER)
        key = self._known(lambda: self._key(secret, session))
        if key is None:
            return Caller(_network(address), None)
        # Everybody can read the key of a frame, so one of its viewers must not take the share of all others.
        of_one = f" at {_network(address)}" if key.scope is Scope.WATCH else ""
        return Caller(_name(key) + of_one, key.scope, key.channel, key)

    def still_admits(self, caller: Caller, session: str | None = None) -> bool:
        """Whether what a caller has opened may stay open: its key is the same, and the session that stood for it lasts.

        True while the keys can't be read: then nothing is opened, and what is open isn't cut off by a fault of a disk.
        """
        if caller.key is None:
            return True
        if session is not None and self._sessions.key_of(session) != caller.key.sha256:
            return False
        try:
            return self._keys.with_hash(caller.key.sha256) == caller.key
        except KeyFileError:
            return True

    def begin_session(self, secret: str) -> str | None:
        """A token that stands for the key until `end_session`, for some hours at most; None without such a key."""
        key = self._known(lambda: self._keys.find(secret))
        return None if key is None else self._sessions.begin(key.sha256)

    def end_session(self, token: str) -> None:
        """The token opens nothing from now on."""
        self._sessions.end(token)

    def _key(self, secret: str | None, session: str | None) -> ApiKey | None:
        if secret is not None:
            return self._keys.find(secret)
        key_sha256 = self._sessions.key_of(session) if session else None
        return None if key_sha256 is None else self._keys.with_hash(key_sha256)

    def _known(self, look_up: Callable[[], ApiKey | None]) -> ApiKey | None:
        try:
            found = look_up()
        except KeyFileError as error:
            if str(error) != self._damaged:  # logged once, not for each request
                logger.error("no key opens anything: %s", error)
            self._damaged = str(error)
            return None
        self._damaged = ""
        return found


def _name(key: ApiKey) -> str:
    return f"key {key.name}"


def _network(address: str) -> str:
    """The address; of IPv6 the /64, for whoever has one of it has all of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
