"""The embedded synthesiser: hibari-tts (Apache-2.0, its voice lies in the package), in a process of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from hibari.voices import DEFAULT, VOICES, voice_path

from conversation.asked_process import Patience
from conversation.synthesis.synthesis_process import SynthesisProcess
from conversation.synthesis.synthesiser import Voice

_ANSWER_S = 10.0  # a sentence takes 0.1 s of a core
_WAIT_S = 10.0


class HibariSynthesiser(SynthesisProcess):
    """Says one sentence after another with one thread."""

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
        super().__init__("hibari", command, Patience(answer_s=answer_s, wait_s=wait_s, most_waiting=None))


def _installed() -> list[str]:
    """The voices whose files are here, the default one first: nothing is fetched while the server runs."""
    found = [DEFAULT]
    for name in VOICES:
        with contextlib.suppress(FileNotFoundError):
            voice_path(name, download_missing=False)
            found += [name] if name != DEFAULT else []
    return found
