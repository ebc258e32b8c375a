"""Understands what ffmpeg says about its targets: connecting, on air, or trying again."""

from __future__ import annotations

import re

from streaming.events import PublisherState, TargetStatus
from streaming.targets import mask

_FIFO_LINE = re.compile(r"^\[fifo @ (?P<muxer>0x[0-9a-f]+)\] \[\w+\] (?P<text>.*)$")
_QUIET_START_S = 2.0
"""A muxer says nothing when its first connection succeeds: so long without a complaint counts as on air."""


class EncoderLog:
    """The targets' states over one run of ffmpeg after another, from its log lines and its progress.

    ffmpeg names the target of a fifo muxer only when opening it fails; until then a complaint belongs to the muxer's
    address in memory, which is enough for the state of all targets together.
    """

    def __init__(self, targets: tuple[str, ...]) -> None:
        self._targets = targets
        self._reconnects = dict.fromkeys(targets, 0)
        self._unnamed_reconnects = 0
        self._was_on_air = False
        self.begin_run()

    def begin_run(self) -> None:
        """A new ffmpeg starts: nothing is connected."""
        self._muxers: dict[str, PublisherState] = {}
        self._names: dict[str, str] = {}
        self._ran_s = 0.0

    def line(self, line: str) -> bool:
        """Takes one line of ffmpeg's log; True when it changed a state."""
        match = _FIFO_LINE.match(line)
        if match is None:
            return False
        muxer, text = match["muxer"], match["text"]
        if len(self._targets) == 1:
            self._names[muxer] = self._targets[0]
        if text.startswith("Error opening "):
            for target in self._targets:
                if text.startswith(f"Error opening {target}:"):
                    self._names[muxer] = target
        before = self._muxers.get(muxer)
        if text.startswith(("Recovery attempt", "Error opening", "Recovery failed")):
            self._muxers[muxer] = PublisherState.RECONNECTING
        elif text.startswith("Recovery successful"):
            self._muxers[muxer] = PublisherState.ON_AIR
            if muxer in self._names:
                self._reconnects[self._names[muxer]] += 1
            else:
                self._unnamed_reconnects += 1
        return self._muxers.get(muxer) != before

    def progress(self, encoded_s: float) -> None:
        """ffmpeg has encoded so many seconds of this run."""
        self._ran_s = encoded_s

    @property
    def reconnects(self) -> int:
        """Connections to targets that were made again."""
        return sum(self._reconnects.values()) + self._unnamed_reconnects

    def state(self, running: bool) -> PublisherState:
        """The worst state of all targets; `running` says whether there is an ffmpeg at all."""
        if running and PublisherState.RECONNECTING not in self._muxers.values() and self._ran_s >= _QUIET_START_S:
            self._was_on_air = True
            return PublisherState.ON_AIR
        return PublisherState.RECONNECTING if self._was_on_air else PublisherState.CONNECTING

    def targets(self, running: bool) -> tuple[TargetStatus, ...]:
        """Each target by its masked address."""
        by_name = {name: self._muxers[muxer] for muxer, name in self._names.items() if muxer in self._muxers}
        quiet = PublisherState.ON_AIR if self._ran_s >= _QUIET_START_S else PublisherState.CONNECTING
        stopped = PublisherState.RECONNECTING if self._was_on_air else PublisherState.CONNECTING
        return tuple(
            TargetStatus(
                mask(target),
                by_name.get(target, quiet) if running else stopped,
                self._reconnects[target],
            )
            for target in self._targets
        )
