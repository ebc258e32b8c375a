"""The embedded recogniser: openai-whisper in a process of its own, with so many threads."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from conversation.asked_process import AskedProcess, Patience, ProcessAway, ProcessDied, line
from conversation.recognition.recogniser import AWAY, FAILED, LONGEST_S, RATE_HZ, RecognitionError

_ATTEMPTS = 2
# Its first start reads the weights, while the first question may be there already.
_PATIENCE = Patience(answer_s=20.0, wait_s=45.0)


class LocalWhisper:
    """Recognises one utterance after another; the process is started again when it dies or hangs."""

    def __init__(
        self, model: str = "tiny.en", threads: int = 1, command: Sequence[str] = (), patience: Patience = _PATIENCE
    ) -> None:
        module = "conversation.recognition.whisper_process"
        self._process = AskedProcess(
            "the recogniser whisper", command or (sys.executable, "-m", module, model, str(threads)), patience, line
        )

    async def run(self) -> None:
        """Keep the process running."""
        await self._process.run()

    async def recognise(self, sound: NDArray[np.int16], language: str) -> str:
        """The words of mono sound at 16 kHz; raises RecognitionError, also for more than 30 s of it."""
        if len(sound) > LONGEST_S * RATE_HZ:
            seconds = len(sound) / RATE_HZ
            raise RecognitionError(FAILED, f"An utterance of {seconds:.1f} s is too long; {LONGEST_S:g} s are heard.")
        head = json.dumps({"samples": len(sound), "language": language}).encode()
        answer = json.loads(await self._asked(head + b"\n" + sound.astype("<i2").tobytes()))
        if "error" in answer:
            raise RecognitionError(FAILED, f"This can't be recognised ({answer['error']}). Say it again.")
        return str(answer["text"])

    async def _asked(self, request: bytes) -> bytes:
        """The process may have died of another utterance, so a second one is asked."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._process.ask(request)
            except ProcessAway as error:
                raise RecognitionError(AWAY, f"Nothing can be recognised now: {error}. Say it again later.") from None
            except ProcessDied as error:
                if attempt == _ATTEMPTS:
                    at_what = "this" if error.at_it else "something else"
                    message = f"The recogniser ended at {at_what}: {error}. Say it again."
                    raise RecognitionError(FAILED if error.at_it else AWAY, message) from None
        raise AssertionError("the last attempt returns or raises")
