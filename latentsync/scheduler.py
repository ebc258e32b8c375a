"""The noise schedule: settings, timesteps and the start noise of a task (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT


class PredictionType(StrEnum):
    """What the UNet's output means."""

    EPSILON = "epsilon"  # the noise
    SAMPLE = "sample"  # the clean latents


class TimestepSpacing(StrEnum):
    """Where the inference timesteps lie among the training timesteps, in diffusers' terms."""

    LEADING = "leading"
    TRAILING = "trailing"


class GuidedFrom(StrEnum):
    """What guidance above 1 leads away from."""

    NOTHING = "nothing"  # audio of zeros, as LatentSync was trained
    SILENCE = "silence"  # what Whisper hears in silence: a mouth that is closed stays closed


class Solver(StrEnum):
    """How the steps of a denoising run follow from predictions."""

    DDIM = "ddim"  # LatentSync's own (Song et al. 2021, eta 0)
    DPM = "dpm++"  # DPM-Solver++(2M) (Lu et al. 2022): second order, for fewer steps


@dataclass(frozen=True)
class SchedulerConfig:
    """A checkpoint's DDIM settings in diffusers' terms; the defaults are LatentSync 1.0's."""

    prediction_type: PredictionType = PredictionType.EPSILON
    timestep_spacing: TimestepSpacing = TimestepSpacing.LEADING
    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    steps_offset: int = 1
    # The last step ends at the first training timestep's noise level (False) or at none (True).
    set_alpha_to_one: bool = False
    default_steps: int = 20
    default_guidance: float = 1.0
    guided_from: GuidedFrom = GuidedFrom.NOTHING

    def __post_init__(self) -> None:
        if not 1 <= self.default_steps <= self.num_train_timesteps:
            raise ValueError(f"default_steps must be 1 to {self.num_train_timesteps}, not {self.default_steps}")
        if not 0 < self.beta_start < self.beta_end < 1:
            raise ValueError(f"betas must rise between 0 and 1, not from {self.beta_start} to {self.beta_end}")


def timesteps(config: SchedulerConfig, steps: int) -> list[int]:
    """Training timesteps that `steps` denoising steps run at, noisiest first.

    Spacings are those of "Common Diffusion Noise Schedules and Sample Steps are Flawed" (Lin et al. 2023), table 2.
    A single step always starts at the last training timestep: leading spacing would put it where hardly any noise is.
    Raises ValueError when steps is not between 1 and the number of training timesteps.
    """
    total = config.num_train_timesteps
    if not 1 <= steps <= total:
        raise ValueError(f"the number of steps must be 1 to {total}, not {steps}")
    if steps == 1 or config.timestep_spacing is TimestepSpacing.TRAILING:
        return [round(total - index * total / steps) - 1 for index in range(steps)]
    return [index * (total // steps) + config.steps_offset for index in reversed(range(steps))]


def task_noise(seed: int, latent_size: int) -> NDArray[np.float32]:
    """Start noise [4, latent_size, latent_size] of a task: one draw for all frames, so that chunks join smoothly."""
    shape = (CONTRACT.latent_channels, latent_size, latent_size)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
