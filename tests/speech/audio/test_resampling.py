"""Live PCM becomes frames: the same ones for any block size, on one clock, at the source's frequency and level."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.sound import SOUND_RATE_HZ
from speech.audio.resampling import HEARD_LATER, Framer
from speech.log import SoundFrames

RATES = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000]
HEARD_RATE_HZ = 16_000
TONE_HZ = 997.0
LEVEL = 9_000.0


def tone(rate_hz: int, seconds: float, channels: int = 1) -> NDArray[np.int16]:
    """A cosine that begins at its peak, int16 [n, channels]."""
    n = round(rate_hz * seconds)
    wave = LEVEL * np.cos(2 * np.pi * TONE_HZ * np.arange(n) / rate_hz)
    return np.repeat(np.rint(wave).astype(np.int16)[:, None], channels, axis=1)


def framed(samples: NDArray[np.int16], rate_hz: int, sizes: list[int]) -> SoundFrames:
    """All frames of the samples, pushed in blocks of these sizes in turn."""
    framer, parts, first, turn = Framer(rate_hz, samples.shape[1]), [], 0, 0
    while first < len(samples):
        size = sizes[turn % len(sizes)]
        parts.append(framer.push(samples[first : first + size]))
        first, turn = first + size, turn + 1
    parts.append(framer.finish())
    return SoundFrames(np.concatenate([part.heard for part in parts]), np.concatenate([part.sound for part in parts]))


def fitted(track: NDArray[np.int16], rate_hz: int) -> tuple[float, float]:
    """Level and time shift in seconds of the tone in the middle of a track, by least squares."""
    at = np.arange(len(track))[rate_hz // 5 : -rate_hz // 5]
    angle = 2 * np.pi * TONE_HZ * at / rate_hz
    basis = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    (cosine, sine), residual, *_ = np.linalg.lstsq(basis, track[at].astype(np.float64), rcond=None)
    assert math.sqrt(residual[0] / len(at)) < 2, "something else than the tone is in it"
    return math.hypot(cosine, sine), math.atan2(sine, cosine) / (2 * np.pi * TONE_HZ)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_block_size_changes_no_sample(rate_hz: int, channels: int) -> None:
    noise = np.random.default_rng(rate_hz).integers(-20_000, 20_000, (rate_hz + 13, channels)).astype(np.int16)
    whole = framed(noise, rate_hz, [len(noise)])
    for sizes in ([1, 7, 0, 333], [rate_hz // 100], [rate_hz // 25 + 1]):
        cut = framed(noise, rate_hz, sizes)
        assert np.array_equal(cut.heard, whole.heard)
        assert np.array_equal(cut.sound, whole.sound)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_tone_keeps_its_frequency_level_and_time_in_both_sounds(rate_hz: int, channels: int) -> None:
    frames = framed(tone(rate_hz, 2.0, channels), rate_hz, [480])
    for track, track_rate_hz in ((frames.heard, HEARD_RATE_HZ), (frames.sound, SOUND_RATE_HZ)):
        level, shift_s = fitted(track.reshape(-1), track_rate_hz)
        assert level == pytest.approx(LEVEL, rel=0.002)
        # That of whole periods, which are 1.003 ms, can't be seen: a click shows it.
        assert abs(shift_s) < 0.0002, f"{1000 * shift_s:.3f} ms"


@pytest.mark.parametrize("rate_hz", RATES)
def test_click_is_at_its_time_in_both_sounds(rate_hz: int) -> None:
    click = np.zeros((rate_hz, 1), np.int16)
    click[rate_hz // 2 : rate_hz // 2 + rate_hz // 2000] = 9_000  # 0.5 ms
    frames, expected_s = framed(click, rate_hz, [480]), 0.5 + 0.00025
    sound, heard = frames.sound.reshape(-1).astype(np.float64), frames.heard.reshape(-1).astype(np.float64)
    found_s = np.average(np.arange(len(sound)), weights=sound**2) / SOUND_RATE_HZ
    assert found_s == pytest.approx(expected_s, abs=0.0001)
    later_s = HEARD_LATER / HEARD_RATE_HZ if rate_hz != HEARD_RATE_HZ else 0.0
    found_s = np.average(np.arange(len(heard)), weights=heard**2) / HEARD_RATE_HZ
    assert found_s == pytest.approx(expected_s + later_s, abs=0.0001)


def test_rate_that_is_wanted_is_passed_on_to_the_bit() -> None:
    noise = np.random.default_rng(1).integers(-32_768, 32_767, (9_600, 1)).astype(np.int16)
    assert np.array_equal(framed(noise, 48_000, [100]).sound.reshape(-1), noise.reshape(-1))
    assert np.array_equal(framed(noise, 16_000, [100]).heard.reshape(-1), noise.reshape(-1))


def test_stereo_is_the_mean_of_both_sides() -> None:
    sides = np.stack([np.full(3_840, 12_000), np.full(3_840, -4_001)], axis=1).astype(np.int16)
    assert set(framed(sides, 48_000, [1_000]).sound.reshape(-1)) == {4_000}


def test_loudest_samples_are_clipped_and_do_not_turn_over() -> None:
    square = np.where(np.arange(24_000) // 40 % 2, 32_767, -32_768).astype(np.int16)[:, None]
    sound = framed(square, 24_000, [240]).sound.reshape(-1)[: 2 * len(square)].astype(np.int32)
    edges = np.repeat(square[:, 0].astype(np.int32), 2)
    assert np.abs(sound - edges).max() < 40_000, "a sample that turned over would be 65,535 away"


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_last_frame_is_padded_and_none_is_lost_or_added(rate_hz: int, extra: int) -> None:
    n = 10 * rate_hz // 25 + extra
    frames = framed(tone(rate_hz, n / rate_hz), rate_hz, [1_000])
    assert len(frames) == math.ceil(n * 25 / rate_hz)
    assert np.abs(frames.sound[-1]).max() > 100, "the last samples are in it"


def test_nothing_sent_is_no_frame() -> None:
    assert len(Framer(24_000, 1).finish()) == 0


@pytest.mark.parametrize(("rate_hz", "most_ms"), [(8_000, 3), (16_000, 1), (24_000, 1), (44_100, 1), (48_000, 0)])
def test_frames_come_soon_after_their_last_sample(rate_hz: int, most_ms: float) -> None:
    framer, frames, block = Framer(rate_hz, 1), 0, rate_hz // 1000
    worst_ms = 0.0
    for ms in range(1, 1_001):
        frames += len(framer.push(np.zeros((block, 1), np.int16)))
        pushed_ms = 1000 * ms * block / rate_hz
        worst_ms = max(worst_ms, pushed_ms - 40 * (frames + 1))  # beyond the end of the next frame
    assert 0 <= worst_ms <= most_ms


def test_what_is_no_pcm_of_this_kind_is_refused() -> None:
    for rate_hz, channels in ((7_999, 1), (48_001, 1), (16_000, 0), (16_000, 3)):
        with pytest.raises(ValueError, match="must be"):
            Framer(rate_hz, channels)
    with pytest.raises(ValueError, match=r"\[n, 2\]"):
        Framer(16_000, 2).push(np.zeros((5, 1), np.int16))
