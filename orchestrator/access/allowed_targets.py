"""The setting `allowed_targets`: where channels may publish."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import parse_qs, urlsplit

RECORDINGS = "recordings"
EVERYWHERE = ("rtmp://*", "rtmps://*", "srt://*", "udp://*", RECORDINGS)

_PATTERN = re.compile(r"(rtmp|rtmps|srt|udp)://([A-Za-z0-9.*_-]+|\[[0-9A-Fa-f:]+\])(?::([0-9]{1,5}))?")
# Other characters might be parsed differently by ffmpeg.
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:]+")


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
        parts = urlsplit(target)
        if not parts.scheme:
            return None if self._recordings else "files are not among the allowed_targets"
        host = parts.hostname or ""
        if not _HOST.fullmatch(host):
            return "the host name has characters other than a-z, 0-9, '.', '-' and '_'"
        if parts.scheme == "srt" and set(parse_qs(parts.query).get("mode", [])) - {"caller"}:
            return "srt:// must be in mode caller: a listener would open a port of this machine to everybody"
        for scheme, pattern, port in self._addresses:
            if parts.scheme == scheme and fnmatchcase(host, pattern) and port in (None, parts.port):
                return None
        return f"{parts.scheme}://{host} is not among the allowed_targets"
