"""Kokoro of a local folder, in a process of its own: Chinese, and more voices. An extra, with misaki for its rules."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from conversation.asked_process import Patience
from conversation.synthesis.kokoro_folder import kokoro_voices
from conversation.synthesis.synthesis_process import SynthesisProcess

_PATIENCE = Patience(start_s=120.0, answer_s=60.0, wait_s=45.0, most_waiting=None)


class KokoroSynthesiser(SynthesisProcess):
    """Says one sentence after another with so many threads; its default voice is `first_voice`, or the first one."""

    rate_hz = 24_000

    def __init__(
        self,
        folder: Path,
        threads: int = 1,
        first_voice: str | None = None,
        command: Sequence[str] = (),
        patience: Patience = _PATIENCE,
    ) -> None:
        """Raises ValueError for a folder that isn't Kokoro, and where the extra isn't installed."""
        if find_spec("misaki") is None:
            raise ValueError("the package misaki is missing: pip install 'latentsync-realtime[kokoro]'")
        found = kokoro_voices(folder)
        self.voices = tuple(sorted(found, key=lambda voice: voice.name != first_voice))
        if first_voice is not None and self.voices[0].name != first_voice:
            raise ValueError(f"{folder} has no voice {first_voice}; it has {', '.join(voice.name for voice in found)}")
        module = "conversation.synthesis.kokoro_process"
        options = (str(folder.resolve()), str(threads), self.voices[0].name)
        super().__init__("kokoro", command or (sys.executable, "-m", module, *options), patience)
