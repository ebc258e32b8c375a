"""The sound of one frame, without a click where speech begins, stops or resumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streaming.config import FRAME_SAMPLES, SAMPLE_RATE_HZ

_DECLICK_SAMPLES = SAMPLE_RATE_HZ // 200  # 5 ms
SILENCE = bytes(FRAME_SAMPLES * 2)
"""A frame of it, s16le."""


class AudioMixer:
    """Turns a frame of speech, or its absence, into the 1920 samples that go out."""

    def __init__(self) -> None:
        self._silencing = np.arange(FRAME_SAMPLES - 1, -1, -1, dtype=np.float32) / FRAME_SAMPLES
        self._fall = (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, _DECLICK_SAMPLES))).astype(np.float32)
        self._last = 0

    def forget(self) -> None:
        """What sounded last is not played after all."""
        self._last = 0

    def silence(self) -> bytes:
        """A frame without speech: s16le [1920]; speech that stopped just before fades out in 5 ms."""
        if not self._last:
            return SILENCE
        out = np.zeros(FRAME_SAMPLES, np.int16)
        out[:_DECLICK_SAMPLES] = self._last * self._fall
        self._last = 0
        return out.tobytes()

    def speech(self, samples: NDArray[np.int16], after_silence: bool = False, falls_silent: bool = False) -> bytes:
        """A frame of speech, int16 [1920] to s16le.

        It rises in 5 ms `after_silence`, which may have come in the middle of a word, and falls evenly to nothing where
        it `falls_silent`.
        """
        if not (after_silence or falls_silent):
            self._last = int(samples[-1])
            return samples.tobytes()
        out = samples.astype(np.float32)
        if after_silence:
            out[:_DECLICK_SAMPLES] *= self._fall[::-1]
        if falls_silent:
            out *= self._silencing
        result = out.astype(np.int16)
        self._last = int(result[-1])
        return result.tobytes()
