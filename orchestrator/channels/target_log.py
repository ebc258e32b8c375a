"""The targets of a channel in the server's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streaming.events import PublisherState, TargetStatus
from streaming.outage import Outage

logger = logging.getLogger(__name__)


@dataclass
class _Known:
    outage: Outage
    reconnects: int = 0


class TargetLog:
    """Writes one line when a target goes off the air, with the reason, and one when it is back."""

    def __init__(self, channel: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._clock = clock
        self._known: dict[tuple[str, int], _Known] = {}

    def note(self, targets: Sequence[TargetStatus]) -> None:
        """Compares with what was known; `targets` are those of the channel's newest status."""
        present: dict[tuple[str, int], _Known] = {}
        for status in targets:
            # Addresses that differ only in their keys look the same: they are counted.
            key = status.target, sum(name == status.target for name, _ in present)
            known = present[key] = self._known.get(key) or _Known(Outage(self._clock))
            self._note(status, known)
        self._known = present

    def _note(self, status: TargetStatus, known: _Known) -> None:
        on_air = status.state is PublisherState.ON_AIR
        lost = status.reconnects > known.reconnects
        known.reconnects = status.reconnects
        # Without a reason the first attempt isn't over yet.
        reason = status.problem or ("the connection was lost" if lost else "")
        if reason and known.outage.is_news_that_down():
            logger.warning("channel %s: target %s is off the air: %s", self._channel, status.target, reason)
        if on_air and known.outage.is_news_that_up():
            logger.info("channel %s: target %s is on the air", self._channel, status.target)
