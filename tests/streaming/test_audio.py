"""The sound of a frame: ramps and clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streaming.audio import AudioMixer
from streaming.config import FRAME_SAMPLES


def samples(data: bytes) -> NDArray[Any]:
    return np.frombuffer(data, np.int16).astype(int)


def test_speech_at_full_gain_passes_bit_for_bit() -> None:
    speech = np.random.default_rng(0).integers(-30_000, 30_000, FRAME_SAMPLES, dtype=np.int16)
    assert AudioMixer().speech(speech, 1.0, 1.0) == speech.tobytes()


def test_gain_moves_evenly_over_the_frame() -> None:
    out = samples(AudioMixer().speech(np.full(FRAME_SAMPLES, 10_000, np.int16), 0.0, 1.0))
    assert out[-1] == 10_000
    assert np.diff(out).max() - np.diff(out).min() <= 1


@pytest.mark.parametrize("level", [20_000, -20_000])
def test_speech_that_breaks_off_and_goes_on_makes_no_click(level: int) -> None:
    mixer = AudioMixer()
    speech = np.full(FRAME_SAMPLES, level, np.int16)
    frames = [mixer.speech(speech, 1.0, 1.0), mixer.silence(), mixer.silence(), mixer.speech(speech, 1.0, 1.0, True)]
    out = np.concatenate([samples(f) for f in frames])
    assert np.abs(np.diff(out)).max() < 500
    assert not out[FRAME_SAMPLES + 250 : 3 * FRAME_SAMPLES].any()
    assert out[-1] == level
