"""Sentences as someone says them: rendered by the embedded synthesiser, at the 16 kHz of a microphone."""

from functools import cache

import numpy as np
import soxr
from hibari import Hibari
from numpy.typing import NDArray


@cache
def _engine() -> Hibari:
    return Hibari(threads=1)


@cache
def said(text: str, pitch: float = 1.0) -> NDArray[np.int16]:
    """The sentence, mono at 16 kHz; another `pitch` makes another voice of it, and another pace."""
    sound = soxr.resample(np.asarray(_engine()(text, seed=0), np.float32), 24_000 * pitch, 16_000)
    return np.asarray(np.rint(np.clip(sound, -1.0, 1.0) * 32767), np.int16)


def silence(seconds: float) -> NDArray[np.int16]:
    return np.zeros(round(seconds * 16_000), np.int16)
