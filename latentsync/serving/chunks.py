"""A request to denoise chunks: its tensors, and the settings that all requests of a batch must share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentsync.contract import CONTRACT
from latentsync.scheduler import SchedulerConfig, timesteps
from latentsync.serving.checks import require_chunk, require_finite, require_side


@dataclass(frozen=True, eq=False)
class ChunkRequest:
    """Noise [rows, 4, h, w], condition [rows, F, 9, h, w] and audio [rows, F, 50, 384] of one request.

    Triton joins only requests of the same shapes, so F is the same for all of a batch.
    """

    noise: Tensor
    condition: Tensor
    audio: Tensor
    steps: int
    guidance: float
    is_cancelled: Callable[[], bool] = lambda: False

    @classmethod
    def read(
        cls,
        tensor: Callable[[str], Tensor],
        scheduler: SchedulerConfig,
        latent_size: int,
        is_cancelled: Callable[[], bool],
    ) -> ChunkRequest:
        """Reads a request's inputs by their names; raises ValueError that names the one that is wrong."""
        noise = require_side("NOISE", require_finite("NOISE", tensor("NOISE")), latent_size)
        condition = require_side("CONDITION", require_chunk("CONDITION", tensor("CONDITION")), latent_size)
        audio = require_chunk("AUDIO", tensor("AUDIO"))
        if audio.shape[1] != condition.shape[1]:
            raise ValueError(f"AUDIO has {audio.shape[1]} frames, expected as many as CONDITION, {condition.shape[1]}")
        steps = torch.unique(require_finite("STEPS", tensor("STEPS")))
        guidance = torch.unique(require_finite("GUIDANCE", tensor("GUIDANCE")))
        if steps.numel() != 1 or guidance.numel() != 1:
            raise ValueError("STEPS and GUIDANCE must be the same for all rows of a request")
        if timesteps(scheduler, int(steps.item()))[0] >= scheduler.num_train_timesteps:
            raise ValueError(f"STEPS is {steps.item()}, too many for this checkpoint's timestep spacing")
        if guidance.item() < 0:
            raise ValueError(f"GUIDANCE is {guidance.item():g}, expected 0 or more; 1 switches it off")
        return cls(noise, condition, audio, int(steps.item()), float(guidance.item()), is_cancelled)

    @classmethod
    def blank(cls, frames: int, latent_size: int) -> ChunkRequest:
        """Zeros for one step of one chunk of so many frames, to warm a model up."""
        size = latent_size
        noise = torch.zeros(1, CONTRACT.latent_channels, size, size)
        condition = torch.zeros(1, frames, CONTRACT.condition_channels, size, size)
        return cls(noise, condition, torch.zeros(1, frames, *CONTRACT.audio_shape), steps=1, guidance=1.0)


def group_by_settings(requests: Sequence[ChunkRequest]) -> list[list[ChunkRequest]]:
    """The requests of equal steps and guidance together, which one batch can denoise."""
    groups: dict[tuple[int, float], list[ChunkRequest]] = {}
    for request in requests:
        groups.setdefault((request.steps, request.guidance), []).append(request)
    return list(groups.values())
