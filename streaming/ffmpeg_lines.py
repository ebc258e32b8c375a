"""Sorts the lines that ffmpeg writes by what they tell an operator."""

from __future__ import annotations

import logging
import re

_SERIOUS = re.compile(r"\[(error|fatal)\]")
_WARNING = re.compile(r"\[warning\]")
# Raw mono PCM carries no channel layout, and a pipe that waits for its next frame is how a live stream works.
_HARMLESS = re.compile(r"Guessed Channel Layout|Thread message queue blocking")
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")
_REMEMBERED = 64


class FfmpegLines:
    """Gives each line its level: every error is logged, a warning once, and harmless warnings are for debugging."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def level(self, line: str) -> int:
        """The level of the next line, as in `logging`; two warnings that differ in numbers only are the same."""
        if _SERIOUS.search(line):
            return logging.WARNING  # the publisher says what it means: a restart, or nothing
        if not _WARNING.search(line) or _HARMLESS.search(line):
            return logging.DEBUG
        text = _VARYING.sub("#", line)
        if text in self._seen or len(self._seen) >= _REMEMBERED:
            return logging.DEBUG
        self._seen.add(text)
        return logging.WARNING
