"""Synthesisers under a test's control."""

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
from numpy.typing import NDArray

from conversation.synthesis.synthesiser import SynthesisError, Voice


class ToneSynthesiser:
    """Says 0.1 s for each letter of a sentence, a tone.

    `gate` holds sentences back, also those behind the first `hold_after`, which close it; `error` is raised.
    """

    rate_hz = 24_000
    voices = (Voice("low", "en-US"), Voice("high", "zh-CN"))

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.hold_after: int | None = None
        self.error: SynthesisError | None = None
        self.said: list[tuple[str, Voice]] = []
        self.cancelled = self.waiting = 0

    async def synthesise(self, text: str, voice: Voice) -> AsyncGenerator[NDArray[np.int16], None]:
        if len(self.said) == self.hold_after:
            self.gate.clear()
        self.waiting += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        if self.error is not None:
            raise self.error
        self.said.append((text, voice))
        letters = sum(char.isalpha() for char in text)
        pitch = 220 if voice.name == "low" else 440
        times = np.arange(round(letters * 0.1 / voice.rate * self.rate_hz)) / self.rate_hz
        yield np.rint(9_000 * np.sin(2 * np.pi * pitch * times)).astype(np.int16)

    async def run(self) -> None:
        await asyncio.sleep(float("inf"))
