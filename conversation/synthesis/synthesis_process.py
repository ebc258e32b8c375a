"""A synthesiser in a process of its own, which says one sentence after another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import numpy as np
from numpy.typing import NDArray

from conversation.asked_process import AskedProcess, Patience, ProcessAway, ProcessDied, ProcessHung
from conversation.synthesis.sound_answers import question, read_answer
from conversation.synthesis.synthesiser import AWAY, FAILED, SynthesisError, Voice

_ATTEMPTS = 2


class SynthesisProcess:
    """The process is started again when it dies or hangs."""

    def __init__(self, name: str, command: Sequence[str], patience: Patience) -> None:
        self._name = name
        self._process = AskedProcess(f"the synthesiser {name}", command, patience, read_answer)

    async def run(self) -> None:
        """Keep the process running."""
        await self._process.run()

    async def synthesise(self, text: str, voice: Voice) -> AsyncGenerator[NDArray[np.int16], None]:
        """The whole sentence as one block; raises SynthesisError."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                samples = await self._said(text, voice)
            except ProcessDied as error:
                if attempt == _ATTEMPTS and not error.at_it:
                    message = f"The synthesiser ended at another text, and begins again: {error}. Try again."
                    raise SynthesisError(AWAY, message) from None
                if attempt == _ATTEMPTS:
                    raise SynthesisError(
                        FAILED, f"The synthesiser ended at this text: {error}. Word it anew."
                    ) from None
            else:
                if len(samples):
                    yield samples
                return

    async def _said(self, text: str, voice: Voice) -> NDArray[np.int16]:
        try:
            answer = await self._process.ask(question(text, voice.name, voice.rate))
        except ProcessHung:
            raise SynthesisError(AWAY, "The synthesiser did not answer in time, and begins again. Try again.") from None
        except ProcessAway as error:
            raise SynthesisError(AWAY, f"No text can be said now: of the synthesiser {self._name} {error}.") from None
        if isinstance(answer, SynthesisError):
            raise answer
        return answer
