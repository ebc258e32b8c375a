"""What viewers hear is what Whisper hears, at their rate and without a seam between chunks."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from speech.audio.interim_upsampling import sound_frames


def tone(hz: float, rate: int, seconds: float = 1.0) -> NDArray[Any]:
    return np.asarray(10_000 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate))


@pytest.mark.parametrize("hz", [100, 1000, 5000])
def test_a_tone_stays_the_tone_that_it_is(hz: float) -> None:
    sound = sound_frames(tone(hz, 16_000).astype(np.int16), 0, 25).reshape(-1)
    assert np.abs(sound - tone(hz, 48_000))[500:-500].max() < 50, "half a percent"


def test_chunks_join_without_a_seam_and_no_sample_moves() -> None:
    pcm = np.random.default_rng(0).integers(-20_000, 20_000, 25 * 640, dtype=np.int16)
    whole = sound_frames(pcm, 0, 25)
    chunks = [sound_frames(pcm, first, count) for first, count in ((0, 4), (4, 16), (20, 5))]
    assert (np.concatenate(chunks) == whole).all()
    assert (whole.reshape(-1)[::3] == pcm).all()


def test_silence_follows_a_speech_that_ends_within_a_frame() -> None:
    sound = sound_frames(np.full(100, 1000, np.int16), 0, 3)
    assert sound.shape == (3, 1920) and sound[0].any() and not sound[1:].any()
