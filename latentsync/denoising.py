"""Denoising of chunks of frames as a plain function: guidance, solver, reuse of deep features, cancellation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from latentsync.scheduler import PredictionType, SchedulerConfig, Solver, TimestepSpacing, task_noise, timesteps
from latentsync.solvers import alphas_cumprod, begin_steps, ddim_step
from latentsync.unet import LatentSyncUNet

__all__ = [
    "Cancelled",
    "PlainPredictor",
    "PredictionType",
    "Predictor",
    "ReusingPredictor",
    "SchedulerConfig",
    "Solver",
    "TimestepSpacing",
    "alphas_cumprod",
    "ddim_step",
    "denoise",
    "task_noise",
    "timesteps",
]

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
# Takes latents [B, 4, F, h, w], a timestep, and whether the deep layers must run; returns the prediction, float32.
PredictStep = Callable[[Tensor, int, bool], Tensor]


class Predictor(Protocol):
    """A UNet that receives once what all denoising steps of some chunks share."""

    def begin(self, condition: Tensor, audio: Tensor) -> PredictStep:
        """Takes condition [B, F, 9, h, w] and audio [B, F, 50, 384], float32."""


@dataclass(frozen=True)
class PlainPredictor:
    """A UNet as a function of (sample [B, 13, F, h, w], timesteps [B], audio [B, F, 50, 384]), run as a whole."""

    unet: Predict

    def begin(self, condition: Tensor, audio: Tensor) -> PredictStep:
        """Binds the function to a condition and audio."""
        rest = condition.transpose(1, 2)

        def predict(latents: Tensor, timestep: int, fresh: bool) -> Tensor:
            sample = torch.cat([latents, rest], dim=1)
            times = torch.full((len(sample),), timestep, dtype=torch.long, device=sample.device)
            return self.unet(sample, times, audio).float()

        return predict


@dataclass(frozen=True)
class ReusingPredictor:
    """The UNet itself, which can skip its deep layers and reuse their features of an earlier step."""

    unet: LatentSyncUNet

    def begin(self, condition: Tensor, audio: Tensor) -> PredictStep:
        """Binds the UNet to a condition and audio."""
        rest = condition.transpose(1, 2)
        deep: Tensor | None = None

        def predict(latents: Tensor, timestep: int, fresh: bool) -> Tensor:
            nonlocal deep
            sample = torch.cat([latents, rest], dim=1)
            prediction, deep = self.unet.predict(sample, timestep, audio, None if fresh else deep)
            return prediction.float()

        return predict


class Cancelled(Exception):
    """`should_stop` ended the denoising between two steps."""


def denoise(
    unet: Predict | Predictor,
    noise: Tensor,
    condition: Tensor,
    audio: Tensor,
    steps: int,
    guidance: float,
    scheduler: SchedulerConfig,
    should_stop: Callable[[], bool] | None = None,
    *,
    solver: Solver = Solver.DDIM,
    reuse: int = 1,
    guidance_base: Tensor | None = None,
) -> Tensor:
    """Denoises chunks of F frames into latents [B, F, 4, h, w] float32.

    `unet` is a Predictor, or a function that maps (sample [B, 13, F, h, w], timesteps [B], audio [B, F, 50, 384]) to
    its prediction [B, 4, F, h, w]. Takes noise [B, 4, h, w], the same for all frames of a chunk; condition
    [B, F, 9, h, w] (mask, masked-image latents, reference latents); audio [B, F, 50, 384]. Guidance above 1 runs a
    second half of the batch with the audio that it leads away from: `guidance_base` [50, 384], or zero. With `reuse`
    above 1 the deep layers run in each reuse-th step only (DeepCache, Ma et al. 2023), if the predictor can.
    Raises Cancelled when `should_stop` returns True before a step, and ValueError for an impossible number of steps.
    """
    frames = condition.shape[1]
    latents = noise.float().unsqueeze(2).repeat(1, 1, frames, 1, 1)
    # A compiled UNet accepts this dtype only.
    condition, audio = condition.float(), audio.float()
    guided = guidance > 1.0
    if guided:
        condition = torch.cat([condition, condition])
        base = torch.zeros_like(audio) if guidance_base is None else guidance_base.to(audio).expand_as(audio)
        audio = torch.cat([base, audio])
    predictor = unet if hasattr(unet, "begin") else PlainPredictor(unet)
    predict = predictor.begin(condition, audio)
    step = begin_steps(solver, scheduler, steps)
    for index, timestep in enumerate(timesteps(scheduler, steps)):
        if should_stop is not None and should_stop():
            raise Cancelled
        prediction = predict(torch.cat([latents, latents]) if guided else latents, timestep, index % reuse == 0)
        if guided:
            away, towards = prediction.chunk(2)
            prediction = away + guidance * (towards - away)
        latents = step(latents, prediction, timestep)
    return latents.transpose(1, 2)
