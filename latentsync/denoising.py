"""DDIM denoising of chunks of frames (Song et al. 2021, eta 0) as a plain function."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from latentsync.scheduler import PredictionType, SchedulerConfig, TimestepSpacing, task_noise, timesteps

__all__ = [
    "Cancelled",
    "PredictionType",
    "SchedulerConfig",
    "TimestepSpacing",
    "alphas_cumprod",
    "ddim_step",
    "denoise",
    "task_noise",
    "timesteps",
]

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]


class Cancelled(Exception):
    """Denoising was told to stop between two steps."""


def denoise(
    unet: Predict,
    noise: Tensor,
    condition: Tensor,
    audio: Tensor,
    steps: int,
    guidance: float,
    scheduler: SchedulerConfig,
    should_stop: Callable[[], bool] | None = None,
) -> Tensor:
    """Denoises chunks of F frames into latents [B, F, 4, h, w] float32.

    `unet` maps (sample [B, 13, F, h, w], timesteps [B], audio [B, F, 50, 384]) to its prediction [B, 4, F, h, w].
    Takes noise [B, 4, h, w], the same for all frames of a chunk; condition [B, F, 9, h, w] (mask, masked-image latents,
    reference latents); audio [B, F, 50, 384]. Guidance above 1 runs a second, silent half of the batch (audio zero).
    Raises Cancelled when `should_stop` says so before a step, and ValueError for an impossible number of steps.
    """
    frames = condition.shape[1]
    latents = noise.float().unsqueeze(2).repeat(1, 1, frames, 1, 1)
    # One type for whatever came: a compiled UNet takes no other.
    condition, audio = condition.float().transpose(1, 2), audio.float()
    guided = guidance > 1.0
    if guided:
        condition = torch.cat([condition, condition])
        audio = torch.cat([torch.zeros_like(audio), audio])
    for timestep in timesteps(scheduler, steps):
        if should_stop is not None and should_stop():
            raise Cancelled
        repeated = torch.cat([latents, latents]) if guided else latents
        sample = torch.cat([repeated, condition], dim=1)
        times = torch.full((len(sample),), timestep, dtype=torch.long, device=sample.device)
        prediction = unet(sample, times, audio).float()
        if guided:
            silent, spoken = prediction.chunk(2)
            prediction = silent + guidance * (spoken - silent)
        latents = ddim_step(latents, prediction, timestep, steps, scheduler)
    return latents.transpose(1, 2)


@functools.cache
def alphas_cumprod(scheduler: SchedulerConfig) -> Tensor:
    """Signal's share of the variance at each training timestep, for scaled-linear betas: float32 [train timesteps]."""
    start, end = math.sqrt(scheduler.beta_start), math.sqrt(scheduler.beta_end)
    betas = torch.linspace(start, end, scheduler.num_train_timesteps, dtype=torch.float32) ** 2
    return torch.cumprod(1 - betas, dim=0)


def ddim_step(latents: Tensor, prediction: Tensor, timestep: int, steps: int, scheduler: SchedulerConfig) -> Tensor:
    """Moves latents from a timestep to the one that follows among `steps` (DDIM, equation 12 with sigma 0)."""
    # Scalars stay float32, as in the original: in the last steps 1 − alpha is so small that its rounding shows.
    alphas = alphas_cumprod(scheduler)
    following = timestep - scheduler.num_train_timesteps // steps
    final = torch.ones(()) if scheduler.set_alpha_to_one else alphas[0]
    alpha = alphas[timestep]
    alpha_next = alphas[following] if following >= 0 else final
    if scheduler.prediction_type is PredictionType.EPSILON:
        epsilon = prediction
        clean = (latents - (1 - alpha).sqrt() * epsilon) / alpha.sqrt()
    else:
        clean = prediction
        epsilon = (latents - alpha.sqrt() * clean) / (1 - alpha).sqrt()
    return alpha_next.sqrt() * clean + (1 - alpha_next).sqrt() * epsilon
