"""Says in the server's log that a channel can't encode in time, and when it can again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streaming.events import Status

_SPACING_S = 10.0

logger = logging.getLogger(__name__)


class OverloadLog:
    """Watches the status of one run of a channel's process.

    Each change of the encoder's step is one line. Dropped pairs are one line at once, and then at most one in ten
    seconds: an overload lasts.
    """

    def __init__(self, channel: str, clock: Callable[[], float]) -> None:
        self._channel = channel
        self._clock = clock
        self._steps_down = 0
        self._told = (0, 0)  # dropped pairs, and those of them that belonged to a speech
        self._told_at = float("-inf")

    def note(self, status: Status) -> None:
        """Take the next status, and log what is new."""
        if status.encoder_steps_down > self._steps_down:
            logger.warning("channel %s: the encoder can't keep up, now %s", self._channel, status.encoder_step)
        elif status.encoder_steps_down < self._steps_down:
            logger.warning("channel %s: the encoder keeps up, now %s", self._channel, status.encoder_step)
        self._steps_down = status.encoder_steps_down
        now = self._clock()
        if status.dropped_pairs > self._told[0] and now - self._told_at >= _SPACING_S:
            dropped, of_speech = status.dropped_pairs - self._told[0], status.dropped_speech_pairs - self._told[1]
            logger.warning(
                "channel %s: the encoder is too slow (%s), %d frames were dropped with their sound, %d of a speech",
                self._channel, status.encoder_step, dropped, of_speech,
            )  # fmt: skip
            self._told = (status.dropped_pairs, status.dropped_speech_pairs)
            self._told_at = now
