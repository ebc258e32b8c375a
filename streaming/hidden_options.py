"""Options that reach ffmpeg through memory, because every user of the machine can read a command line.

ffmpeg's `-fpre FILE` sets the options that stand in a file. ffmpeg 5.1 applies them to the output; the build 9.0 of
imageio-ffmpeg reads them and forgets them, and its `-/option FILE` takes no option of a muxer or protocol.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache

_log = logging.getLogger(__name__)

_LINE_BYTES = 990
"""ffmpeg reads a preset line by line into a buffer of 1,000 bytes."""
_PROBE_S = 20.0


def can_hide(binary: str, options: Mapping[str, str]) -> bool:
    """Whether ffmpeg `binary` accepts these options from a file; the first call for a binary runs it once."""
    short = all(len(line) <= _LINE_BYTES for line in _lines(options))
    return short and _applies_presets(binary)


@contextlib.contextmanager
def option_file(options: Mapping[str, str]) -> Iterator[int]:
    """The descriptor of an anonymous file with `options`, to be inherited; the argument is `-fpre /dev/fd/N`."""
    fd = os.memfd_create("ffmpeg-options")
    try:
        os.write(fd, "".join(_lines(options)).encode())
        yield fd
    finally:
        os.close(fd)


def _lines(options: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}\n" for name, value in options.items()]


@cache
def _applies_presets(binary: str) -> bool:
    # A muxer's option whose effect can be seen: SHA256 is the default.
    source = ("-f", "s16le", "-ar", "8000", "-ac", "1", "-i", "pipe:0")
    with option_file({"hash": "md5"}) as fd:
        command = [binary, "-v", "error", *source, "-c", "copy", "-f", "hash", "-fpre", f"/dev/fd/{fd}", "pipe:1"]
        try:
            answer = subprocess.run(
                command, input=bytes(64), capture_output=True, pass_fds=(fd,), timeout=_PROBE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _log.warning("ffmpeg %s could not be asked whether it reads options from a file: %s", binary, error)
            return False
    return answer.stdout.startswith(b"MD5=")
