"""Where a stream goes: which muxer an address needs, how ffmpeg's tee takes it, and how it is named without its key."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

_RECOVERY = {
    "attempt_recovery": "1",
    "recover_any_error": "1",
    "recovery_wait_time": "1",
    "max_recovery_attempts": "0",
    "drop_pkts_on_overflow": "1",
    "restart_with_keyframe": "1",
    "queue_size": "200",
}

_NETWORK_MUXERS = {
    "rtmp": ("flv", "flvflags=no_duration_filesize:rw_timeout=5000000"),
    "rtmps": ("flv", "flvflags=no_duration_filesize"),
    "srt": ("mpegts", ""),
    "udp": ("mpegts", ""),
}
_FLUSH = {"flush_packets": "1"}  # what was recorded survives a killed encoder
_FILE_MUXERS = {
    ".flv": {"f": "flv", "flvflags": "no_duration_filesize", **_FLUSH},
    ".ts": {"f": "mpegts", **_FLUSH},
    ".mp4": {"f": "mp4", "movflags": "+frag_keyframe+empty_moov+default_base_moof"},
    ".m3u8": {
        "f": "hls",
        "hls_time": "2",
        "hls_list_size": "6",
        "hls_flags": "delete_segments+append_list+omit_endlist",
    },
}


def tee_slave(target: str) -> str:
    """One target as an element of ffmpeg's tee muxer; raises ValueError for an address of no known kind."""
    scheme = urlsplit(target).scheme
    if scheme in _NETWORK_MUXERS:
        muxer, format_options = _NETWORK_MUXERS[scheme]
        options = {"f": "fifo", "fifo_format": muxer, **_RECOVERY, "onfail": "ignore"}
        if format_options:
            options["format_opts"] = format_options
        return slave(options, target)
    for suffix, file_options in _FILE_MUXERS.items():
        if target.endswith(suffix) and scheme in ("", "file"):
            return slave({**file_options, "onfail": "ignore"}, target)
    kinds = ", ".join([*_NETWORK_MUXERS, *_FILE_MUXERS])
    raise ValueError(f"target {mask(target)!r}: must be one of {kinds}")


def unused(target: str) -> str:
    """The target itself, but for a file that exists the first free `name-1.flv`, `name-2.flv` … beside it.

    An encoder that starts again would begin the recording anew and lose what it holds. An HLS playlist is continued.
    """
    path = Path(target.removeprefix("file:"))
    if urlsplit(target).scheme not in ("", "file") or path.suffix == ".m3u8" or not path.exists():
        return target
    names = (path.with_stem(f"{path.stem}-{n}") for n in count(1))
    return str(next(name for name in names if not name.exists()))


def slave(options: dict[str, str], url: str) -> str:
    """An element of ffmpeg's tee: its options and its address, escaped for both of tee's parsers."""
    listed = ":".join(f"{key}={_escape(value, r':]')}" for key, value in options.items())
    return _escape(f"[{listed}]{url}", "|")


def mask(target: str) -> str:
    """The address without user, password, stream key and query."""
    parts = urlsplit(target)
    if not parts.netloc:
        return target
    host = parts.netloc.rpartition("@")[2]
    folder, _, key = parts.path.rpartition("/")
    return f"{parts.scheme}://{host}{folder}/{'***' if key else ''}"


class KeyMask:
    """Takes the secrets of all targets out of a line of text."""

    def __init__(self, targets: tuple[str, ...]) -> None:
        words: set[str] = set()
        for target in targets:
            parts = urlsplit(target)
            if parts.netloc:
                credentials = parts.netloc.rpartition("@")[0]
                words |= {parts.path.rpartition("/")[2], parts.query, credentials, credentials.partition(":")[2]}
        # Longest first: a key that contains another one must go as a whole.
        ordered = sorted((w for w in words if w), key=len, reverse=True)
        spellings = [s for w in ordered for s in (w, _escape(w, "|"), _escape(_escape(w, ":]"), "|"))]
        self._pattern = re.compile("|".join(map(re.escape, spellings))) if spellings else None

    def __call__(self, line: str) -> str:
        return self._pattern.sub("***", line) if self._pattern else line


def _escape(text: str, special: str) -> str:
    return "".join("\\" + c if c in special or c in "\\'" else c for c in text)
