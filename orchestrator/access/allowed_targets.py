"""The setting `allowed_targets`: where channels may publish."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from streaming.address import Address

RECORDINGS = "recordings"
EVERYWHERE = ("rtmp://*", "rtmps://*", "srt://*", "udp://*", "whip://*", "whips://*", "ws://*", "wss://*", RECORDINGS)

_PATTERN = re.compile(
    r"(rtmp|rtmps|srt|udp|whip|whips|ws|wss)://([A-Za-z0-9.*_-]+|\[[0-9A-Fa-f:]+\])(?::([0-9]{1,5}))?"
)


class AllowedTargets:
    """Patterns `scheme://host` or `scheme://host:port` with * in the host, and `recordings` for files."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises ValueError for a pattern in another form."""
        self._recordings = False
        self._addresses: list[tuple[str, str, int | None]] = []
        for pattern in patterns:
            match = _PATTERN.fullmatch(pattern)
            if pattern == RECORDINGS:
                self._recordings = True
            elif match is None:
                raise ValueError(
                    f"{pattern!r} must be {RECORDINGS!r}, or like rtmp://*.example.com or srt://10.0.0.5:9000"
                )
            else:
                port = None if match[3] is None else int(match[3])
                self._addresses.append((match[1], match[2].strip("[]").lower(), port))

    def refusal(self, target: str) -> str | None:
        """Why a target is not allowed, without its key; None for an allowed target."""
        if "://" not in target:
            return None if self._recordings else "files are not among the allowed_targets"
        try:
            address = Address.parse(target)
        except ValueError as error:
            return str(error)
        return self._refusal(address.scheme, address.host, address.port)

    def refusal_of_room(self, url: str) -> str | None:
        """The same for a server of rooms, which is reached by WebSocket."""
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname or "", parts.port
        except ValueError as error:
            return str(error)
        if scheme not in ("ws", "wss") or not host:
            return "it must begin with wss:// or ws://, and name a host"
        return self._refusal(scheme, host, port)

    def _refusal(self, scheme: str, host: str, port: int | None) -> str | None:
        for allowed, pattern, only_port in self._addresses:
            if scheme == allowed and fnmatchcase(host, pattern) and only_port in (None, port):
                return None
        return f"{scheme}://{host} is not among the allowed_targets"
