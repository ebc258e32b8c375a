"""Targets of a stream: the muxer that an address needs, and how the address is shown without its key."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

from streaming.address import SCHEMES, Address

# A small send buffer: a server that hangs is noticed after one second instead of eight.
_TCP = {"send_buffer_size": "131072"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST_ALONE = re.compile(r"[a-z]+://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_NETWORK_MUXERS = {
    "rtmp": {"format": "flv", "flvflags": "no_duration_filesize", **_TCP},
    "rtmps": {"format": "flv", "flvflags": "no_duration_filesize"},
    "srt": {"format": "mpegts"},
    "udp": {"format": "mpegts"},
}
_FILE_MUXERS = {
    ".flv": {"format": "flv", "flvflags": "no_duration_filesize"},
    ".ts": {"format": "mpegts"},
    ".mp4": {"format": "mp4", "movflags": "+frag_keyframe+empty_moov+default_base_moof"},
    ".m3u8": {
        "format": "hls",
        "hls_time": "2",
        "hls_list_size": "6",
        "hls_flags": "delete_segments+append_list+omit_endlist",
    },
}


def is_whip(target: str) -> bool:
    """Whether a target is sent to by WebRTC instead of a muxer of ffmpeg's."""
    return target.startswith(("whip://", "whips://"))


def check_target(target: str) -> None:
    """Raises ValueError for an unsupported address or a file whose folder is missing; the message has no key."""
    if is_whip(target):
        try:
            Address.parse(target)
        except ValueError as error:
            raise ValueError(f"target {mask(target)!r}: {error}") from None
        return
    muxer_options(target)
    path = local_path(target)
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"target {target!r}: there is no folder {path.parent}")


def unused(target: str) -> str:
    """The target itself; for a file that exists, the first free name of `name-1.flv`, `name-2.flv` … beside it.

    Recordings are never overwritten. An HLS playlist is continued.
    """
    path = local_path(target)
    if path is None or path.suffix == ".m3u8" or not path.exists():
        return target
    names = (path.with_stem(f"{path.stem}-{n}") for n in count(1))
    return str(next(name for name in names if not name.exists()))


def mask(target: str) -> str:
    """The address without user, password, query and all that follows the application; never raises."""
    if not _SCHEME.match(target):
        return target
    try:
        address = Address.parse(target)
    except ValueError:
        return target if _HOST_ALONE.fullmatch(target) else f"{target.partition('://')[0]}://***"
    shown = f"{address.scheme}://{address.authority}"
    if not address.rest.startswith("/"):
        return f"{shown}?***" if address.rest else shown
    # Some servers take the key in place of an application.
    alone = address.rest.rstrip("/") == f"/{address.application}"
    return f"{shown}/***" if alone else f"{shown}/{address.application}/***"


class KeyMask:
    """Masks the secrets of all targets in a line of text."""

    def __init__(self, targets: tuple[str, ...]) -> None:
        words = {word for target in targets if _SCHEME.match(target) for word in Address.parse(target).secrets}
        # Longest first: a key that contains another key must be masked as a whole.
        ordered = sorted(words, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, line: str) -> str:
        return self._pattern.sub("***", line) if self._pattern else line


def muxer_options(target: str) -> dict[str, str]:
    """Options of the muxer that the target needs; raises ValueError for an address of no known kind."""
    path = local_path(target)
    if path is None:
        try:
            return _NETWORK_MUXERS[Address.parse(target).scheme]
        except ValueError as error:
            raise ValueError(f"target {mask(target)!r}: {error}") from None
    if path.suffix in _FILE_MUXERS:
        return _FILE_MUXERS[path.suffix]
    kinds = ", ".join([*(f"{scheme}://" for scheme in SCHEMES), *(f"a {s} file" for s in _FILE_MUXERS)])
    raise ValueError(f"target {mask(target)!r}: must be one of {kinds}")


def local_path(target: str) -> Path | None:
    """The path of a target that is a file; None for an address."""
    return None if _SCHEME.match(target) else Path(target.removeprefix("file:"))
