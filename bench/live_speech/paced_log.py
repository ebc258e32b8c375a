"""A recording that arrives frame by frame, as fast as its reader waits for it."""

from __future__ import annotations

import asyncio

from speech.log import LogEnd, SpeechLog


class PacedLog(SpeechLog):
    """A log that is complete, and says so little by little: a frame more each time that its reader must wait.

    What is generated of it is what a microphone would have brought by then, without taking the time.
    """

    _arrived = 0

    @property
    def frames(self) -> int:
        """Whole frames that have arrived."""
        return self._arrived

    @property
    def end(self) -> LogEnd | None:
        """None until all have arrived."""
        return LogEnd() if self._arrived >= super().frames else None

    async def wait_beyond(self, frames: int) -> int:
        """Let more than `frames` frames arrive, or all."""
        while self._arrived <= frames and self.end is None:
            self._arrived += 1
        await asyncio.sleep(0)
        return self._arrived
