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
    assert AudioMixer().speech(speech) == speech.tobytes()


def test_speech_that_is_interrupted_falls_evenly_to_nothing_within_its_frame() -> None:
    out = samples(AudioMixer().speech(np.full(FRAME_SAMPLES, 10_000, np.int16), falls_silent=True))
    assert out[0] == pytest.approx(10_000, abs=10) and out[-1] == 0
    assert np.diff(out).max() - np.diff(out).min() <= 1


def test_speech_begins_in_its_first_frame_without_a_click() -> None:
    out = samples(AudioMixer().speech(np.full(FRAME_SAMPLES, 20_000, np.int16), after_silence=True))
    assert np.abs(np.diff(out)).max() < 500
    assert (out[250:] == 20_000).all(), "whole after 5 ms"


@pytest.mark.parametrize("level", [20_000, -20_000])
def test_speech_that_breaks_off_and_goes_on_makes_no_click(level: int) -> None:
    mixer = AudioMixer()
    speech = np.full(FRAME_SAMPLES, level, np.int16)
    frames = [mixer.speech(speech), mixer.silence(), mixer.silence(), mixer.speech(speech, after_silence=True)]
    out = np.concatenate([samples(f) for f in frames])
    assert np.abs(np.diff(out)).max() < 500
    assert not out[FRAME_SAMPLES + 250 : 3 * FRAME_SAMPLES].any()
    assert out[-1] == level
