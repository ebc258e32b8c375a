"""DDIM: against the original's trajectory, against diffusers, and the loop around it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from latentsync.denoising import (
    Cancelled,
    PredictionType,
    SchedulerConfig,
    TimestepSpacing,
    ddim_step,
    denoise,
    task_noise,
    timesteps,
)

OFFICIAL = SchedulerConfig()


def test_timesteps_match_the_original(shared: Path) -> None:
    expected = json.loads((shared / "fixtures" / "ddim_timesteps.json").read_text())
    for steps, values in expected.items():
        assert timesteps(OFFICIAL, int(steps)) == values


def test_a_whole_trajectory_matches_the_original(shared: Path) -> None:
    reference = np.load(shared / "fixtures" / "ddim20.npz")
    latents = torch.from_numpy(reference["latents"])
    for timestep, prediction in zip(reference["timesteps"], reference["noise_pred"], strict=True):
        latents = ddim_step(latents, torch.from_numpy(prediction), int(timestep), 20, OFFICIAL)
    assert np.abs(latents.numpy() - reference["final"]).max() <= 1e-5


@pytest.mark.parametrize("prediction", list(PredictionType))
@pytest.mark.parametrize("spacing", list(TimestepSpacing))
@pytest.mark.parametrize("to_one", [False, True])
@pytest.mark.parametrize("steps", [2, 3, 4, 20])
def test_steps_match_diffusers(prediction: PredictionType, spacing: TimestepSpacing, to_one: bool, steps: int) -> None:
    config = SchedulerConfig(prediction_type=prediction, timestep_spacing=spacing, set_alpha_to_one=to_one)
    theirs = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1,
        set_alpha_to_one=to_one, prediction_type=prediction.value, timestep_spacing=spacing.value,
    )  # fmt: skip
    theirs.set_timesteps(steps)
    assert timesteps(config, steps) == theirs.timesteps.tolist()
    generator = torch.Generator().manual_seed(0)
    ours = expected = torch.randn(1, 4, 2, 4, 4, generator=generator)
    for timestep in timesteps(config, steps):
        output = torch.randn(ours.shape, generator=generator)
        ours = ddim_step(ours, output, timestep, steps, config)
        expected = theirs.step(output, timestep, expected).prev_sample
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spacing", list(TimestepSpacing))
def test_one_step_starts_from_pure_noise(spacing: TimestepSpacing) -> None:
    assert timesteps(SchedulerConfig(timestep_spacing=spacing), 1) == [999]


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_numbers_of_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=str(steps)):
        timesteps(OFFICIAL, steps)


class RecordingUNet:
    """Answers with the mean of the audio, and keeps what it was asked."""

    def __init__(self) -> None:
        self.samples: list[torch.Tensor] = []
        self.times: list[list[int]] = []
        self.audio: list[torch.Tensor] = []

    def __call__(self, sample: torch.Tensor, times: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        self.samples.append(sample)
        self.times.append(times.tolist())
        self.audio.append(audio)
        return audio.mean(dim=(2, 3))[:, None, :, None, None].expand(-1, 4, -1, *sample.shape[-2:])


def task(chunks: int = 1, frames: int = 16, side: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(chunks, 4, side, side, generator=generator),
        torch.randn(chunks, frames, 9, side, side, generator=generator),
        torch.randn(chunks, frames, 50, 384, generator=generator),
    )


def test_the_sample_is_noise_then_condition_and_noise_is_the_same_in_all_frames() -> None:
    unet = RecordingUNet()
    noise, condition, audio = task(chunks=2)
    latents = denoise(unet, noise, condition, audio, 2, 1.0, OFFICIAL)
    assert latents.shape == (2, 16, 4, 4, 4)
    assert unet.times == [[501, 501], [1, 1]]
    first = unet.samples[0]
    assert first.shape == (2, 13, 16, 4, 4)
    for frame in range(16):
        assert torch.equal(first[:, :4, frame], noise)
        assert torch.equal(first[:, 4:, frame], condition[:, frame])


def test_guidance_of_one_runs_no_unconditional_pass() -> None:
    unet = RecordingUNet()
    denoise(unet, *task(), 2, 1.0, OFFICIAL)
    assert [len(sample) for sample in unet.samples] == [1, 1]


def test_guidance_moves_away_from_silence() -> None:
    noise, condition, audio = task()
    guided, plain = RecordingUNet(), RecordingUNet()
    config = SchedulerConfig(prediction_type=PredictionType.SAMPLE, set_alpha_to_one=True)
    latents = denoise(guided, noise, condition, audio, 1, 1.5, config)
    assert torch.equal(guided.audio[0][:1], torch.zeros_like(audio))
    assert torch.equal(guided.audio[0][1:], audio)
    # Silence is answered with zero here, so guidance of 1.5 gives one and a half times the answer to the audio.
    torch.testing.assert_close(latents, 1.5 * denoise(plain, noise, condition, audio, 1, 1.0, config))


def test_guidance_may_lead_away_from_the_audio_of_silence() -> None:
    noise, condition, audio = task()
    unet = RecordingUNet()
    config = SchedulerConfig(prediction_type=PredictionType.SAMPLE, set_alpha_to_one=True)
    base = torch.full(audio.shape[2:], 0.25)
    denoise(unet, noise, condition, audio, 1, 1.5, config, guidance_base=base)
    assert torch.equal(unet.audio[0][:1], torch.full_like(audio, 0.25))
    assert torch.equal(unet.audio[0][1:], audio)
    quiet = base.expand_as(audio).clone()
    guided = denoise(RecordingUNet(), noise, condition, quiet, 1, 1.5, config, guidance_base=base)
    plain = denoise(RecordingUNet(), noise, condition, quiet, 1, 1.0, config)
    torch.testing.assert_close(guided, plain)  # a mouth that is closed stays so


def test_it_stops_between_steps_when_told() -> None:
    unet = RecordingUNet()
    with pytest.raises(Cancelled):
        denoise(unet, *task(), 20, 1.0, OFFICIAL, should_stop=lambda: len(unet.samples) == 3)
    assert len(unet.samples) == 3


def test_clean_latents_predicted_last_are_the_result() -> None:
    config = SchedulerConfig(prediction_type=PredictionType.SAMPLE, set_alpha_to_one=True)
    noise, condition, audio = task()
    latents = denoise(RecordingUNet(), noise, condition, audio, 4, 1.0, config)
    expected = audio.mean(dim=(2, 3))[:, :, None, None, None].expand_as(latents)
    torch.testing.assert_close(latents, expected)


def test_noise_is_drawn_from_the_seed() -> None:
    assert task_noise(7, 16).shape == (4, 16, 16)
    assert task_noise(7, 16).dtype == np.float32
    assert np.array_equal(task_noise(7, 16), task_noise(7, 16))
    assert not np.array_equal(task_noise(7, 16), task_noise(8, 16))


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="default_steps"):
        SchedulerConfig(default_steps=0)
    with pytest.raises(ValueError, match="betas"):
        SchedulerConfig(beta_start=0.02, beta_end=0.01)
