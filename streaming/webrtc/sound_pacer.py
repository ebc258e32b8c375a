"""Sends sound evenly: a pair's two packets come out of the encoder at once, which looks like jitter to a receiver."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from streaming.webrtc.units import Unit

# Less than a packet's 20 ms, so that what waits grows shorter.
_SPACING_S = 0.018
# Sound that comes later than this after its capture is not held: the receiver's buffer is what makes up for that.
_LATEST_S = 0.04
_MOST_WAITING = 50

OnUnit = Callable[[Unit], Awaitable[None]]


class SoundPacer:
    """Holds a packet of sound that follows another one too soon.

    A receiver delays all sound by the jitter that it sees, and would by the 20 ms that the second packet came early.
    """

    def __init__(
        self,
        send: OnUnit,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._send = send
        self._monotonic = monotonic
        self._sleep = sleep
        self._waiting: deque[tuple[Unit, float]] = deque(maxlen=_MOST_WAITING)
        self._comes = asyncio.Event()
        self._sent_at = float("-inf")

    def put(self, unit: Unit, captured_s: float) -> None:
        """The next packet, captured at this time of the monotonic clock."""
        self._waiting.append((unit, captured_s))
        self._comes.set()

    async def run(self) -> None:
        """Sends until it is cancelled."""
        while True:
            if not self._waiting:
                self._comes.clear()
                await self._comes.wait()
            unit, captured_s = self._waiting.popleft()
            wait_s = min(self._sent_at + _SPACING_S, captured_s + _LATEST_S) - self._monotonic()
            if wait_s > 0:
                await self._sleep(wait_s)
            self._sent_at = self._monotonic()
            await self._send(unit)
