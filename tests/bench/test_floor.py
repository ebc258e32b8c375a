"""What the networks cost at least, counted from their layers."""

from pathlib import Path

import pytest
import torch

from bench.floor import floor, kernel_rates, network_flops
from latentsync.checkpoint import Checkpoint
from latentsync.cpu import preferred_dtype
from tests.support.tiny_checkpoint import write_tiny_checkpoint

KERNELS = {"matrix product, float32": 1e9, "convolution, float32": 2e9}  # operations a second


@pytest.fixture
def tiny(tmp_path: Path) -> Checkpoint:
    return Checkpoint.open(write_tiny_checkpoint(tmp_path))


def test_multiplications_of_whisper_are_those_of_its_layers(tiny: Checkpoint) -> None:
    whisper = tiny.load_whisper().config
    width, positions = whisper.n_audio_state, 1500
    convolutions = 3 * width * (2 * positions * whisper.n_mels + positions * width)
    block = positions * width * (4 * width + 8 * width + 2 * positions)
    assert network_flops(tiny)["whisper"] == 2 * (convolutions + whisper.n_audio_layer * block)


def test_floor_of_a_speech_grows_with_steps_and_guidance_alone(tiny: Checkpoint) -> None:
    one = floor(tiny, frames=40, steps=1, guidance=1.0, threads=1, kernels=KERNELS, measured_ms={})
    five = floor(tiny, frames=40, steps=5, guidance=2.0, threads=1, kernels=KERNELS, measured_ms={})
    for name, times in {"whisper": 1, "unet": 10, "vae_decoder": 1}.items():
        assert five.ms_per_frame[name] == pytest.approx(times * one.ms_per_frame[name], rel=0.05)
        assert one.gflop[name] == five.gflop[name] > 0
    assert (one.gflop_per_s, one.rate_of) == (2.0, "convolution, float32")
    # three chunks for 40 frames
    assert one.ms_per_frame["unet"] == pytest.approx(3 * 1000 * one.gflop["unet"] / 2.0 / 40, rel=0.05)


def test_no_floor_lies_above_what_was_measured(tiny: Checkpoint) -> None:
    # The cores were busy while the kernels were measured: the decoder was four times as fast as they allow.
    alone = floor(tiny, frames=40, steps=1, guidance=1.0, threads=1, kernels=KERNELS, measured_ms={})
    measured_ms = {"decode": 1.0, "unet": 1000.0, "vae_decoder": alone.ms_per_frame["vae_decoder"] / 4}
    seen = floor(tiny, frames=40, steps=1, guidance=1.0, threads=1, kernels=KERNELS, measured_ms=measured_ms)
    assert seen.gflop_per_s == pytest.approx(8.0, rel=0.05)
    assert seen.rate_of == "vae_decoder"
    for name, ms in alone.ms_per_frame.items():
        assert seen.ms_per_frame[name] == pytest.approx(ms / 4, rel=0.05)


def test_rates_are_of_products_and_convolutions_in_each_type_that_networks_are_served_in() -> None:
    threads = torch.get_num_threads()
    rates = kernel_rates(1)
    served = str(preferred_dtype()).removeprefix("torch.")
    kernels = ("matrix product", "convolution")
    assert set(rates) == {f"{kernel}, {dtype}" for kernel in kernels for dtype in ("float32", served)}
    assert all(rate > 0 for rate in rates.values())
    assert torch.get_num_threads() == threads
