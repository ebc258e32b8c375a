"""The microphone's PCM as conversations hear it, no sooner than it can have been taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import numpy as np
from numpy.typing import NDArray

from conversation.recognition.recogniser import RATE_HZ
from speech.audio.resampling import Track

_PIECE = RATE_HZ // 20
_AHEAD_S = 2.0


class Microphone:
    """Takes PCM of 16 bits, little-endian, cut anywhere."""

    def __init__(self, rate_hz: int, channels: int, clock: Callable[[], float]) -> None:
        self._channels = channels
        self._track = Track(rate_hz, RATE_HZ)
        self._rest = b""
        self._clock = clock
        self._began_s: float | None = None
        self._heard = 0

    async def pieces(self, sound: bytes) -> AsyncIterator[NDArray[np.int16]]:
        """The same mono at 16 kHz, in pieces of at most 50 ms.

        Sound that is more than 2 s ahead of real time waits: a recording is heard at the pace of speech, and nobody can
        keep the server busy by sending fast.
        """
        sound, size = self._rest + sound, 2 * self._channels
        whole = len(sound) - len(sound) % size
        self._rest = sound[whole:]
        samples = np.frombuffer(sound[:whole], "<i2").reshape(-1, self._channels)
        self._track.push(samples.astype(np.float32).mean(axis=1, dtype=np.float32))
        while self._track.waiting:
            piece = self._track.take(min(_PIECE, self._track.waiting))
            await self._pace(len(piece))
            yield piece

    async def _pace(self, count: int) -> None:
        now_s = self._clock()
        behind_s = 0.0 if self._began_s is None else now_s - self._began_s - self._heard / RATE_HZ
        if self._began_s is None or behind_s > 0:
            self._began_s = now_s - self._heard / RATE_HZ  # it paused: what follows is no further ahead by that
            behind_s = 0.0
        self._heard += count
        await asyncio.sleep(max(0.0, -behind_s - _AHEAD_S))
