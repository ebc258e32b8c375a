"""From one timestep's latents to the next, given what the UNet predicted: DDIM, or DPM-Solver++ for fewer steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from latentsync.scheduler import PredictionType, SchedulerConfig, Solver

# Takes latents, the prediction and the timestep that it was made for; returns the next timestep's latents.
Step = Callable[[Tensor, Tensor, int], Tensor]


def begin_steps(solver: Solver, scheduler: SchedulerConfig, steps: int) -> Step:
    """The steps of one run, to be taken in order from the noisiest."""
    if solver is Solver.DPM:
        return _DpmSolver(scheduler, steps)
    return lambda latents, prediction, timestep: ddim_step(latents, prediction, timestep, steps, scheduler)


@functools.cache
def alphas_cumprod(scheduler: SchedulerConfig) -> Tensor:
    """The signal's fraction of the variance at each training timestep, for scaled-linear betas: float32 [timesteps]."""
    start, end = math.sqrt(scheduler.beta_start), math.sqrt(scheduler.beta_end)
    betas = torch.linspace(start, end, scheduler.num_train_timesteps, dtype=torch.float32) ** 2
    return torch.cumprod(1 - betas, dim=0)


def ddim_step(latents: Tensor, prediction: Tensor, timestep: int, steps: int, scheduler: SchedulerConfig) -> Tensor:
    """Moves latents from a timestep to the one that follows among `steps` (DDIM, equation 12 with sigma 0)."""
    alpha, alpha_next = _alphas(scheduler, timestep, steps)
    if scheduler.prediction_type is PredictionType.EPSILON:
        epsilon = prediction
        clean = (latents - (1 - alpha).sqrt() * epsilon) / alpha.sqrt()
    else:
        clean = prediction
        epsilon = (latents - alpha.sqrt() * clean) / (1 - alpha).sqrt()
    return alpha_next.sqrt() * clean + (1 - alpha_next).sqrt() * epsilon


class _DpmSolver:
    """DPM-Solver++(2M): algorithm 2 of Lu et al. 2022; the first and the last step are of first order."""

    def __init__(self, scheduler: SchedulerConfig, steps: int) -> None:
        self._scheduler, self._steps = scheduler, steps
        self._taken = 0
        self._previous: tuple[Tensor, float] | None = None  # clean latents, and half the log of signal over noise

    def __call__(self, latents: Tensor, prediction: Tensor, timestep: int) -> Tensor:
        alpha, alpha_next = (float(value) for value in _alphas(self._scheduler, timestep, self._steps))
        signal, noise = math.sqrt(alpha), math.sqrt(1 - alpha)
        if self._scheduler.prediction_type is PredictionType.EPSILON:
            clean = (latents - noise * prediction) / signal
        else:
            clean = prediction
        self._taken += 1
        if alpha_next >= 1.0:
            return clean
        here, there = math.log(signal / noise), math.log(math.sqrt(alpha_next / (1 - alpha_next)))
        estimate = clean
        if self._previous is not None and self._taken < self._steps:
            before, at = self._previous
            slope = (there - here) / (2 * (here - at))
            estimate = (1 + slope) * clean - slope * before
        self._previous = clean, here
        noise_next = math.sqrt(1 - alpha_next)
        return noise_next / noise * latents - math.sqrt(alpha_next) * math.expm1(here - there) * estimate


def _alphas(scheduler: SchedulerConfig, timestep: int, steps: int) -> tuple[Tensor, Tensor]:
    """The signal's fraction of the variance at a timestep, and at the one that follows among `steps`."""
    # Scalars stay float32, as in the original: in the last steps 1 − alpha is so small that its rounding shows.
    alphas = alphas_cumprod(scheduler)
    following = timestep - scheduler.num_train_timesteps // steps
    final = torch.ones(()) if scheduler.set_alpha_to_one else alphas[0]
    return alphas[timestep], alphas[following] if following >= 0 else final
