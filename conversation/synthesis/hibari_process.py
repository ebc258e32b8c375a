"""hibari in a process of its own: `python -m conversation.synthesis.hibari_process <first voice>`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from hibari import Hibari
from numpy.typing import NDArray

from conversation.synthesis.sound_answers import answer_all

_engines: dict[str, Hibari] = {}


def main() -> None:
    """Answer one question after another, until the input ends."""
    answer_all(_say, ("Warm.", sys.argv[1]))


def _say(text: str, voice: str, rate: float) -> NDArray[np.floating[Any]]:
    if voice not in _engines:
        _engines[voice] = Hibari(voice, threads=1)
    return np.asarray(_engines[voice](text, speed=rate, seed=0))


if __name__ == "__main__":
    main()
