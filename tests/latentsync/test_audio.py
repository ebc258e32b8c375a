"""Speech to features: the windows, Whisper's hidden states, and each frame's share of them."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from latentsync.audio import (
    frame_count,
    frame_windows,
    join_features,
    split_windows,
)
from latentsync.contract import CONTRACT
from latentsync.whisper import AudioEncoder, WhisperConfig
from tests.support.reference import recipe

RECORDINGS = ["speech_zh_4s", "speech_zh_42s"]


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    config = WhisperConfig()
    state = {
        f"encoder.{key}": value
        if key == "positional_embedding"
        else torch.from_numpy(recipe(f"encoder.{key}", tuple(value.shape)))
        for key, value in AudioEncoder(config).encoder.state_dict().items()
    }
    return AudioEncoder.from_state_dict(state, config)


def pcm_of(path: Path) -> NDArray[np.float32]:
    with wave.open(str(path)) as recording:
        assert recording.getframerate() == 16000
        samples = np.frombuffer(recording.readframes(recording.getnframes()), dtype=np.int16)
    return samples.astype(np.float32) / 32768


@pytest.mark.parametrize("name", RECORDINGS)
@torch.inference_mode()
def test_features_match_the_original(shared: Path, encoder: AudioEncoder, name: str) -> None:
    reference = np.load(shared / "fixtures" / "whisper_features.npz")
    features = encoder.encode(torch.from_numpy(pcm_of(shared / "media" / f"{name}.wav"))).numpy()
    assert len(features) == reference[f"{name}_num_features"]
    rows = reference[f"{name}_rows"]
    assert np.abs(features[rows] - reference[f"{name}_features"]).max() <= 1e-4


@torch.inference_mode()
def test_a_window_of_short_speech_matches_the_original(shared: Path, encoder: AudioEncoder) -> None:
    reference = np.load(shared / "fixtures" / "whisper_features.npz")
    windows, counts = split_windows(pcm_of(shared / "media" / "speech_zh_4s.wav"))
    features = join_features(list(encoder(torch.from_numpy(windows)).numpy()), counts)
    rows = reference["speech_zh_4s_rows"]
    assert np.abs(features[rows] - reference["speech_zh_4s_features"]).max() <= 1e-4


@torch.inference_mode()
def test_features_of_speech_are_those_of_the_whole_window_though_fewer_are_made(encoder: AudioEncoder) -> None:
    window = torch.full((1, 15 * CONTRACT.sample_rate_hz), float("nan"))
    window[0, : 3 * CONTRACT.sample_rate_hz] = 0.1 * torch.randn(3 * CONTRACT.sample_rate_hz)
    mel = F.pad(encoder._mel(window[0, : 3 * CONTRACT.sample_rate_hz]), (0, 1200))
    features, whole = encoder(window)[0], encoder.encode_mel(mel[None])[0]
    assert torch.equal(features[:150], whole[:150])
    assert torch.equal(features[:, :4], whole[:, :4]), "only the last block may be cut short"
    assert not features[150:, 4].any() and whole[150:, 4].any()


@torch.inference_mode()
def test_products_in_bfloat16_change_features_little(shared: Path, encoder: AudioEncoder) -> None:
    windows, counts = split_windows(pcm_of(shared / "media" / "speech_zh_4s.wav"))
    short = AudioEncoder(encoder.config, torch.bfloat16)
    short.load_state_dict(encoder.state_dict())
    features = encoder(torch.from_numpy(windows))[0, : counts[0]]
    difference = short.eval()(torch.from_numpy(windows))[0, : counts[0]] - features
    assert 0 < difference.square().mean().sqrt() < 0.02 * features.square().mean().sqrt()


@torch.inference_mode()
def test_windows_of_long_speech_differ_from_the_original_at_their_seam_only(
    shared: Path, encoder: AudioEncoder
) -> None:
    pcm = pcm_of(shared / "media" / "speech_zh_42s.wav")
    windows, counts = split_windows(pcm)
    assert counts == [1500, 624]
    features = join_features(list(encoder(torch.from_numpy(windows)).numpy()), counts)
    difference = np.abs(features - encoder.encode(torch.from_numpy(pcm)).numpy()).max(axis=(1, 2))
    assert len(difference) == 2124
    assert np.median(difference) < 0.02  # a loudness floor for each window
    assert difference.max() < 0.2


@pytest.mark.parametrize("name", RECORDINGS)
def test_frames_use_the_features_that_the_original_uses(shared: Path, name: str) -> None:
    reference = np.load(shared / "fixtures" / "whisper_features.npz")
    count = int(reference[f"{name}_num_features"])
    features = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None], (count, 5, 384))
    chunks = int(reference[f"{name}_num_chunks"])
    for frames, expected in ((range(3), "first"), (range(chunks - 3, chunks), "last")):
        windows = frame_windows(features, frames)
        assert windows.shape == (3, 50, 384)
        np.testing.assert_array_equal(windows[:, ::5, 0], reference[f"{name}_window_{expected}"])


def test_the_five_hidden_states_of_a_feature_stay_together() -> None:
    features = np.arange(4 * 5 * 2, dtype=np.float32).reshape(4, 5, 2)
    np.testing.assert_array_equal(frame_windows(features, [1])[0, 20:25], features[2])


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (640, 1), (641, 2), (16000, 25), (679800, 1063)])
def test_every_sample_is_covered_by_a_frame(samples: int, frames: int) -> None:
    assert frame_count(samples) == frames
    assert frames * CONTRACT.samples_per_frame >= samples


@pytest.mark.parametrize(
    ("samples", "counts"),
    [
        (0, [1]),
        (100, [1]),
        (16000, [50]),
        (CONTRACT.window_samples, [1500]),
        (CONTRACT.window_samples + 319, [1500]),
        (CONTRACT.window_samples + 320, [1500, 1]),
        (3 * CONTRACT.window_samples, [1500] * 3),
    ],
)
@torch.inference_mode()
def test_windows_count_the_features_that_are_speech(samples: int, counts: list[int]) -> None:
    pcm = np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)
    windows, found = split_windows(pcm)
    assert found == counts
    assert windows.shape == (len(counts), CONTRACT.window_samples)
    kept = windows[~np.isnan(windows)]
    np.testing.assert_array_equal(kept, pcm[: len(counts) * CONTRACT.window_samples])


@torch.inference_mode()
def test_windows_of_a_batch_do_not_touch_each_other(encoder: AudioEncoder) -> None:
    pcm = np.random.default_rng(0).uniform(-0.5, 0.5, 32000).astype(np.float32)
    speech = torch.from_numpy(split_windows(pcm)[0])
    short = torch.from_numpy(split_windows(pcm[:3])[0])
    together = encoder(torch.cat([speech, short]))
    assert together.isfinite().all()
    torch.testing.assert_close(together[:1], encoder(speech), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_a_shorter_window_has_the_features_of_its_own_positions(encoder: AudioEncoder) -> None:
    pcm = torch.from_numpy(np.random.default_rng(0).uniform(-0.5, 0.5, 30 * 16_000).astype(np.float32))
    ended = torch.full((1, 3 * 16_000), float("nan"))
    ended[0, :20_000] = pcm[:20_000]
    mel = encoder._mel(pcm[:20_000])
    # By hand: the spectrogram of the speech, zeros up to the window's end, and the first 150 positions.
    hidden = F.pad(mel, (0, 300 - mel.shape[-1]))[None]
    for layer in (encoder.encoder.conv1, encoder.encoder.conv2):
        hidden = F.gelu(layer(hidden))
    expected = hidden.transpose(1, 2) + encoder.encoder.positional_embedding[:150]

    features = encoder(ended)

    assert features.shape == (1, 150, 5, 384)
    assert torch.equal(features[:, :, 0], expected)
    assert features.isfinite().all()


@torch.inference_mode()
def test_windows_of_all_lengths_hear_nearly_the_same(encoder: AudioEncoder) -> None:
    # Its weights are drawn; the first hidden state, before any attention, differs by the spectrogram's padding alone.
    pcm = torch.from_numpy(np.random.default_rng(0).uniform(-0.5, 0.5, 30 * 16_000).astype(np.float32))
    for seconds in (1, 2, 29):
        window = pcm[None, : seconds * 16_000]
        longer = torch.full((1, (seconds + 1) * 16_000), float("nan"))
        longer[:, : window.shape[1]] = window
        short, long = encoder(window), encoder(longer)
        assert short.shape == (1, 50 * seconds, 5, 384)
        torch.testing.assert_close(short[:, :-1, 0], long[:, : 50 * seconds - 1, 0], rtol=0, atol=1e-5)


def test_a_window_of_another_length_is_refused(encoder: AudioEncoder) -> None:
    for samples in (0, 15_999, 40_000, 31 * 16_000):
        with pytest.raises(ValueError, match=f"a window of {samples} samples, expected a whole number of seconds"):
            encoder(torch.zeros(1, samples))
    with pytest.raises(ValueError, match=r"shape \[B, samples\]; got \[16000\]"):
        encoder(torch.zeros(16_000))
