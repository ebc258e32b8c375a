"""What a recogniser is: the sound of an utterance in, its words out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
"""Of the sound that recognisers take."""
LONGEST_S = 30.0
"""Of an utterance: what Whisper hears at once."""


class RecognitionError(RuntimeError):
    """An utterance can't be recognised; `code` is stable, `message` says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


AWAY = "recogniser_unavailable"
"""The code of what may work later: the recogniser can't be reached, is too slow, or has too much to do."""
FAILED = "recognition_failed"
"""The code of an answer that is no text, or of sound that the recogniser refuses."""


class Recogniser(Protocol):
    """Recognises utterances."""

    async def recognise(self, sound: NDArray[np.int16], language: str) -> str:
        """The words of mono sound at 16 kHz, of at most 30 s; empty where there are none. Raises RecognitionError.

        `language` is that of the person, as `en` or `zh-CN`; empty where it isn't known.
        """
        ...

    async def run(self) -> None:
        """Keeps running what it needs; runs for as long as it is used, until it is cancelled."""
        ...
