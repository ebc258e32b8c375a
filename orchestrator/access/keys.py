"""API keys: made here, shown once, kept as hashes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from orchestrator.access.secret import KEY_PREFIX
from orchestrator.private_file import write_private

_VERSION = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_SECRET_BYTES = 32


class KeyFileError(RuntimeError):
    """The file of keys can't be read, or a key can't be added or removed; the message says what to do."""


class Scope(StrEnum):
    """What a key allows; each one includes those before it."""

    WATCH = "watch"
    VIEW = "view"
    SPEAK = "speak"
    ADMINISTER = "administer"

    def allows(self, wanted: Scope) -> bool:
        """Whether a key of this scope may do what `wanted` names."""
        order = list(Scope)
        return order.index(self) >= order.index(wanted)


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept: never the key itself. One that may watch can be for a single channel."""

    name: str
    scope: Scope
    sha256: str
    created_at: str
    channel: str | None = None


class KeyFile:
    """The keys of one server, in one JSON file that the command line changes and the server reads again by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_as: tuple[int, int, int] | None = None
        self._by_hash: Mapping[str, ApiKey] = {}

    def find(self, secret: str) -> ApiKey | None:
        """The key that `secret` is; raises KeyFileError.

        One round of SHA-256 is enough: a key has 256 random bits, which no list of words holds. Its hash is looked up,
        so the time that this takes says nothing of the key.
        """
        return self.with_hash(_hashed(secret))

    def with_hash(self, sha256: str) -> ApiKey | None:
        """The key of this hash; raises KeyFileError."""
        self._refresh()
        return self._by_hash.get(sha256)

    def all(self) -> list[ApiKey]:
        """All keys by name; raises KeyFileError."""
        self._refresh()
        return sorted(self._by_hash.values(), key=lambda key: key.name)

    def add(self, name: str, scope: Scope, channel: str | None = None) -> str:
        """Makes a key and returns it, which nothing can do again; raises KeyFileError."""
        if not _NAME.fullmatch(name):
            raise KeyFileError(f"the name is {name!r:.40} and must be 1 to 32 of a-z, 0-9, - and _")
        if channel is not None and scope is not Scope.WATCH:
            raise KeyFileError(f"a key that may {scope.value} is for all channels; only one that may watch is for one")
        secret = KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        with self._changing():
            if any(key.name == name for key in self.all()):
                raise KeyFileError(f"there is a key {name!r}: remove it first, or choose another name")
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._save([*self.all(), ApiKey(name, scope, _hashed(secret), now, channel)])
        return secret

    def remove(self, name: str) -> None:
        """Forgets a key; a running server refuses it from its next request on. Raises KeyFileError."""
        with self._changing():
            keys = self.all()
            if all(key.name != name for key in keys):
                known = ", ".join(key.name for key in keys) or "none"
                raise KeyFileError(f"there is no key {name!r:.40}; there is {known}")
            self._save([key for key in keys if key.name != name])

    def remove_of(self, channel: str) -> None:
        """Forgets the keys that are for this channel alone, where there are any; raises KeyFileError."""
        if any(key.channel == channel for key in self.all()):  # most servers have none, and no file that can be written
            with self._changing():
                self._save([key for key in self.all() if key.channel != channel])

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One change at a time, also by two commands."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _save(self, keys: list[ApiKey]) -> None:
        content = {"version": _VERSION, "keys": [{**vars(key), "scope": key.scope.value} for key in keys]}
        write_private(self.path, json.dumps(content, indent=2) + "\n")

    def _refresh(self) -> None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._read_as, self._by_hash = None, {}
            return
        except OSError as error:
            raise KeyFileError(f"{self.path} can't be read: {error.strerror}") from None
        state = (found.st_mtime_ns, found.st_size, found.st_ino)
        if state == self._read_as:
            return
        self._read_as, self._by_hash = None, {}  # a file that can't be read opens nothing
        self._by_hash = {key.sha256: key for key in _read(self.path)}
        self._read_as = state


def _read(path: Path) -> list[ApiKey]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            raise KeyFileError(f"{path} has version {content['version']}, this server reads {_VERSION}: move it away")
        return [
            ApiKey(
                str(key["name"]), Scope(key["scope"]), str(key["sha256"]), str(key["created_at"]), key.get("channel")
            )
            for key in content["keys"]
        ]
    except OSError as error:
        raise KeyFileError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise KeyFileError(f"{path} is damaged ({error}): repair it, or move it away and make new keys") from None


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
