"""Audio on the frame clock."""

import numpy as np
import pytest

from speech.audio.frames import SAMPLES_PER_FRAME, frame_audio, pad_to_frames


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (640, 1), (641, 2), (16_000, 25)])
def test_last_frame_is_filled_up_and_nothing_is_lost(samples: int, frames: int) -> None:
    pcm = np.full(samples, 0.5, np.float32)
    padded = pad_to_frames(pcm)
    assert len(padded) == frames * SAMPLES_PER_FRAME
    np.testing.assert_array_equal(padded[:samples], pcm)
    assert not padded[samples:].any()


def test_silence_is_put_at_either_end() -> None:
    padded = pad_to_frames(np.ones(640, np.float32), before=5, behind=2)
    assert np.flatnonzero(padded).tolist() == list(range(5 * 640, 6 * 640))
    assert len(padded) == 8 * 640


def test_int16_goes_through_float_unchanged_and_overshoot_is_clipped() -> None:
    values = np.arange(-32768, 32768, dtype=np.int16)[: 102 * 640]
    np.testing.assert_array_equal(frame_audio(values.astype(np.float32) / 32768).reshape(-1), values)
    assert frame_audio(np.full(640, 1.5, np.float32)).max() == 32767
