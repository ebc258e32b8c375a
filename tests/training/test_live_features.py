"""Training hears speech through the windows that the product gives Whisper."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from latentsync.audio import PADDING, frame_windows
from latentsync.contract import CONTRACT
from latentsync.whisper import AudioEncoder, WhisperConfig
from training.live_features import HEARD_AFTER, SAMPLES, Hearing, encode_live, encode_whole, window_mels

FRAMES = 60
HEARING = Hearing(hop=8, look_ahead=5, shortest=20, longest=30, padded_s=2)


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(WhisperConfig(n_audio_layer=4)).eval().requires_grad_(False)


def speech() -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    level = np.repeat(rng.uniform(0, 0.4, FRAMES), SAMPLES)
    return (rng.normal(0, 1, FRAMES * SAMPLES) * level).astype(np.float32)


def heard_by_the_product(encoder: AudioEncoder, pcm: NDArray[np.float32], padded_s: int) -> NDArray[np.float32]:
    window = np.full(padded_s * CONTRACT.sample_rate_hz, PADDING, np.float32)
    window[: len(pcm)] = pcm
    features = encoder(torch.from_numpy(window[None]))[0, : len(pcm) // CONTRACT.samples_per_position]
    return np.asarray(features.numpy())


@pytest.mark.parametrize("seed", [0, 1])
def test_a_window_ends_where_the_look_ahead_of_its_hop_does(seed: int) -> None:
    which, windows = HEARING.windows(FRAMES, np.random.default_rng(seed))
    for frame in range(FRAMES):
        begin, end = windows[which[frame]]
        last = int(np.flatnonzero(which == which[frame])[-1])
        assert end == min(FRAMES, last + 1 + HEARD_AFTER + HEARING.look_ahead)
        assert begin <= max(0, frame - HEARD_AFTER), "what a frame hears before its own lies in its window"
        assert end - begin <= HEARING.longest
    assert np.bincount(which)[1:-1].tolist() == [HEARING.hop] * (which[-1] - 1)


def test_frames_hear_live_what_the_product_lets_them_hear(encoder: AudioEncoder) -> None:
    pcm = speech()
    live = encode_live(encoder, torch.from_numpy(pcm), FRAMES, HEARING, np.random.default_rng(3), batch=3)
    which, windows = HEARING.windows(FRAMES, np.random.default_rng(3))
    for frame in (0, 1, 17, 40, FRAMES - 1):
        begin, end = windows[which[frame]]
        features = heard_by_the_product(encoder, pcm[begin * SAMPLES : end * SAMPLES], HEARING.padded_s)
        expected = frame_windows(features, [frame - begin])[0]
        np.testing.assert_allclose(live[frame].reshape(expected.shape).float(), expected, atol=4e-3, rtol=2e-3)


def test_a_whole_stream_is_heard_by_one_window_of_30_s(encoder: AudioEncoder) -> None:
    pcm = speech()
    expected = heard_by_the_product(encoder, pcm, CONTRACT.window_s)
    whole = encode_whole(encoder, torch.from_numpy(pcm), FRAMES)
    np.testing.assert_allclose(whole.reshape(expected.shape).float(), expected, atol=4e-3, rtol=2e-3)


def test_what_lies_beyond_a_window_doesnt_change_its_spectrogram() -> None:
    quiet, loud = speech(), speech()
    loud[40 * SAMPLES :] *= 20
    windows = torch.tensor([[10, 40]])
    one, other = (window_mels(torch.from_numpy(pcm), windows, 2) for pcm in (quiet, loud))
    assert torch.equal(one, other)
    assert one.shape == (1, 80, 200)
    assert not one[0, :, 120:].any(), "the padding holds zeros"
