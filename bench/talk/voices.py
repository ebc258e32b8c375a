"""The questions as a person asks them: by the embedded synthesiser, in a lower voice than the avatar's."""

from __future__ import annotations

import numpy as np
import soxr
from hibari import Hibari
from numpy.typing import NDArray

from bench.talk.client import RATE_HZ
from bench.talk.plan import SPOKEN, Asked

_HIBARI_HZ = 24_000
_PITCH = 0.9


def questions() -> dict[Asked, NDArray[np.int16]]:
    """Mono int16 at 16 kHz."""
    engine = Hibari(threads=1)
    return {asked: _said(engine, text) for asked, text in SPOKEN.items()}


def _said(engine: Hibari, text: str) -> NDArray[np.int16]:
    sound = soxr.resample(np.asarray(engine(text, seed=0), np.float32), _HIBARI_HZ * _PITCH, RATE_HZ)
    return np.asarray(np.rint(np.clip(sound, -1.0, 1.0) * 32767), np.int16)
