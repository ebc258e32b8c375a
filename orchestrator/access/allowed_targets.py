"""The setting `allowed_targets`: where channels may publish."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from streaming.address import Address

RECORDINGS = "recordings"
EVERYWHERE = ("rtmp://*", "rtmps://*", "srt://*", "udp://*", "whip://*", "whips://*", RECORDINGS)

_PATTERN = re.compile(r"(rtmp|rtmps|srt|udp|whip|whips)://([A-Za-z0-9.*_-]+|\[[0-9A-Fa-f:]+\])(?::([0-9]{1,5}))?")


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
        for scheme, pattern, port in self._addresses:
            if address.scheme == scheme and fnmatchcase(address.host, pattern) and port in (None, address.port):
                return None
        return f"{address.scheme}://{address.host} is not among the allowed_targets"
