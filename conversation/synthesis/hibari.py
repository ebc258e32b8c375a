"""The embedded synthesiser: hibari-tts (Apache-2.0, its voice lies in the package), in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator, Sequence

import numpy as np
from hibari.voices import DEFAULT, VOICES, voice_path
from numpy.typing import NDArray

from conversation.asked_process import AskedProcess, Patience, ProcessAway, ProcessDied, ProcessHung
from conversation.synthesis.hibari_process import COUNT, FAILURE
from conversation.synthesis.synthesiser import AWAY, FAILED, SynthesisError, Voice

_ANSWER_S = 10.0  # a sentence takes 0.1 s of a core
_WAIT_S = 10.0
_ATTEMPTS = 2


class HibariSynthesiser:
    """Says one sentence after another with one thread; the process is started again when it dies or hangs."""

    rate_hz = 24_000

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, "-m", "conversation.synthesis.hibari_process", DEFAULT),
        answer_s: float = _ANSWER_S,
        wait_s: float = _WAIT_S,
    ) -> None:
        """An answer may take `answer_s`; a text waits for `wait_s` while the process starts."""
        self.voices = tuple(Voice(name, VOICES[name]["language"]) for name in _installed())
        # How many texts are said at once is limited where they are accepted.
        patience = Patience(answer_s=answer_s, wait_s=wait_s, most_waiting=None)
        self._process = AskedProcess("the synthesiser hibari", command, patience, _answer)

    async def run(self) -> None:
        """Keep the process running."""
        await self._process.run()

    async def synthesise(self, text: str, voice: Voice) -> AsyncGenerator[NDArray[np.int16], None]:
        """The whole sentence as one block; raises SynthesisError."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                samples = await self._said(text, voice)
            except ProcessDied as error:
                if attempt == _ATTEMPTS:
                    raise SynthesisError(
                        FAILED, f"The synthesiser ended at this text: {error}. Word it anew."
                    ) from None
            else:
                if len(samples):
                    yield samples
                return

    async def _said(self, text: str, voice: Voice) -> NDArray[np.int16]:
        request = {"text": text, "voice": voice.name, "rate": voice.rate}
        try:
            answer = await self._process.ask(json.dumps(request).encode() + b"\n")
        except ProcessHung:
            raise SynthesisError(AWAY, "The synthesiser did not answer in time, and begins again. Try again.") from None
        except ProcessAway as error:
            raise SynthesisError(AWAY, f"No text can be said now: of the synthesiser hibari {error}.") from None
        if isinstance(answer, SynthesisError):
            raise answer
        return answer


async def _answer(output: asyncio.StreamReader) -> NDArray[np.int16] | SynthesisError:
    """The next answer, which is that to the oldest request; raises IncompleteReadError at the end."""
    (count,) = COUNT.unpack(await output.readexactly(COUNT.size))
    if count != FAILURE:
        return np.frombuffer(await output.readexactly(2 * count), "<i2").astype(np.int16)
    (size,) = COUNT.unpack(await output.readexactly(COUNT.size))
    message = (await output.readexactly(size)).decode(errors="replace")
    return SynthesisError(FAILED, f"The synthesiser can't say this text ({message}). Word it anew.")


def _installed() -> list[str]:
    """The voices whose files are here, the default one first: nothing is fetched while the server runs."""
    found = [DEFAULT]
    for name in VOICES:
        with contextlib.suppress(FileNotFoundError):
            voice_path(name, download_missing=False)
            found += [name] if name != DEFAULT else []
    return found
