"""What the networks cost at least, counted from their layers."""

from pathlib import Path

import pytest

from bench.floor import floor_here, network_flops
from latentsync.checkpoint import Checkpoint
from tests.support.tiny_checkpoint import write_tiny_checkpoint


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
    one = floor_here(tiny, frames=40, steps=1, guidance=1.0, threads=1)
    five = floor_here(tiny, frames=40, steps=5, guidance=2.0, threads=1)
    for name, times in {"whisper": 1, "unet": 10, "vae_decoder": 1}.items():
        work = [floor.ms_per_frame[name] * floor.gflop_per_s for floor in (one, five)]
        assert work[1] == pytest.approx(times * work[0], rel=0.05)
        assert one.gflop[name] == five.gflop[name] > 0
    # three chunks for 40 frames
    assert one.ms_per_frame["unet"] == pytest.approx(3 * 1000 * one.gflop["unet"] / one.gflop_per_s / 40, rel=0.05)
