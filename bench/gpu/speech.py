"""The speech that the bench uses: from a file, or drawn noise."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES
from speech.audio.decoder import SAMPLE_RATE_HZ, decode_heard
from speech.log import SoundFrames

_SYLLABLES_PER_S = 4.0
_LOUDNESS = 0.1


@dataclass(frozen=True)
class Speech:
    """PCM float32 [samples] at 16 kHz, and a description for the record."""

    pcm: NDArray[np.float32]
    origin: str

    @property
    def frames(self) -> SoundFrames:
        """Its whole frames; viewers would hear each sample three times."""
        per_frame = CONTRACT.samples_per_frame
        count = len(self.pcm) // per_frame
        heard = (self.pcm[: count * per_frame] * 32767).astype(np.int16).reshape(count, per_frame)
        return SoundFrames(heard, np.repeat(heard, SOUND_FRAME_SAMPLES // per_frame, axis=1))

    @property
    def wav(self) -> bytes:
        """A wav file of it."""
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE_HZ)
            file.writeframes((self.pcm * 32767).astype("<i2").tobytes())
        return buffer.getvalue()


async def bench_speech(audio: Path | None, seconds: float) -> Speech:
    """So many seconds of the file, repeated where it is shorter, or of noise in the rhythm of syllables.

    The models take the same time for either. Raises AudioError for a file that can't be read.
    """
    samples = round(seconds * SAMPLE_RATE_HZ)
    if audio is not None:
        return Speech(
            np.resize(await decode_heard(audio), samples).astype(np.float32), f"{seconds:g} s of {audio.name}"
        )
    noise = np.random.default_rng(0).standard_normal(samples)
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * _SYLLABLES_PER_S * np.arange(samples) / SAMPLE_RATE_HZ)
    pcm = np.clip(_LOUDNESS * noise * swell, -1, 1).astype(np.float32)
    return Speech(pcm, f"{seconds:g} s of noise in the rhythm of syllables")
