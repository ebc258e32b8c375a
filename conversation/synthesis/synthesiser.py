"""What a synthesiser is: text in, blocks of PCM out, in one of its voices."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SLOWEST, FASTEST = 0.5, 2.0
"""What a voice's `rate` may be."""


class SynthesisError(RuntimeError):
    """A text can't be said; `code` is stable, `message` says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


AWAY = "synthesiser_unavailable"
"""The code of what may work later: the synthesiser can't be reached, is too slow, or has too much to do."""
FAILED = "synthesis_failed"
"""The code of an answer that is no speech."""
UNSAYABLE = "unsayable_text"
"""The code of a text of which this voice can say nothing."""


@dataclass(frozen=True)
class Voice:
    """A voice by its name; `language` as `en-US`, empty where it speaks several, `rate` 1.0 is its own pace.

    Raises ValueError for a rate outside 0.5 … 2.0.
    """

    name: str
    language: str = ""
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not SLOWEST <= self.rate <= FASTEST:
            raise ValueError(f"rate is {self.rate} and must be from {SLOWEST} to {FASTEST}")


class Synthesiser(Protocol):
    """Says sentences."""

    @property
    def rate_hz(self) -> int:
        """The sample rate of its sound."""
        ...

    @property
    def voices(self) -> tuple[Voice, ...]:
        """Those that it has, its default first."""
        ...

    def synthesise(self, text: str, voice: Voice) -> AsyncGenerator[NDArray[np.int16], None]:
        """The sound of a sentence, mono, in blocks as they come; close it (`aclosing`), which ends the work.

        Raises SynthesisError. Nothing at all comes of a text in which the voice finds nothing to say.
        """
        ...

    async def run(self) -> None:
        """Keeps running what it needs; runs for as long as it is used, until it is cancelled."""
        ...


def voice_of(synthesiser: Synthesiser, name: str | None, rate: float = 1.0) -> Voice:
    """The voice of that name, the default one for None; raises SynthesisError (`unknown_voice`), which names them."""
    voices = {voice.name: voice for voice in synthesiser.voices}
    found = synthesiser.voices[0] if name is None else voices.get(name)
    if found is None:
        assert name is not None
        raise SynthesisError("unknown_voice", f"There is no voice {name[:40]!r}; there is {', '.join(voices)}.")
    return replace(found, rate=rate)
