"""Speeches in logs, for what reads them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES
from speech.log import LogEnd, SoundFrames, SpeechLog, as_stored


@contextmanager
def whole_speech(folder: Path, frames: int) -> Iterator[SpeechLog]:
    """The log of a speech that has arrived."""
    path = folder / "whole.speech"
    path.write_bytes(as_stored(SoundFrames(np.ones((frames, 640), np.int16), np.ones((frames, 1920), np.int16))))
    log = SpeechLog(path, LogEnd())
    try:
        yield log
    finally:
        log.close()


def sound_frames(samples: NDArray[np.int16]) -> SoundFrames:
    """Whole frames of int16 [n] at 16 kHz, the last one padded; viewers hear each sample three times."""
    heard = np.pad(samples, (0, -len(samples) % CONTRACT.samples_per_frame)).reshape(-1, CONTRACT.samples_per_frame)
    return SoundFrames(heard, np.repeat(heard, SOUND_FRAME_SAMPLES // CONTRACT.samples_per_frame, axis=1))


async def sealed_log(path: Path, samples: NDArray[np.int16]) -> SpeechLog:
    """The log of a speech that is complete."""
    log = SpeechLog(path)
    await log.append(sound_frames(samples))
    log.seal()
    return log


def noise(frames: float, seed: int = 1) -> NDArray[np.int16]:
    """So many frames of loud noise, int16 at 16 kHz."""
    count = round(frames * CONTRACT.samples_per_frame)
    return np.random.default_rng(seed).integers(-16_000, 16_000, count).astype(np.int16)
