"""Checks of requests' tensors: each returns the tensor as it is, or raises ValueError that names it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentsync.audio import speech_samples
from latentsync.contract import CONTRACT


def require_finite(name: str, tensor: Tensor) -> Tensor:
    """Returns `tensor` as it is; raises ValueError that counts its values that are NaN or infinite."""
    # The minimum or the maximum is not finite if any value is not; finding them takes a tenth of the time of isfinite.
    if tensor.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all()):
        bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        raise ValueError(f"{name} has {bad} of {tensor.numel()} values that are NaN or infinite")
    return tensor


def require_chunk(name: str, tensor: Tensor) -> Tensor:
    """Returns chunks [rows, frames, ...] as they are.

    Raises ValueError for a number of frames that is none of the contract's `chunk_lengths`, and as above.
    """
    try:
        CONTRACT.require_chunk_length(tensor.shape[1])
    except ValueError as error:
        raise ValueError(f"{name} is {error}") from None
    return require_finite(name, tensor)


def require_side(name: str, tensor: Tensor, side: int) -> Tensor:
    """Returns `tensor` [..., height, width] as it is; raises ValueError for pictures of another side.

    Where checkpoints of several resolutions are served, Triton itself lets every size through.
    """
    height, width = tensor.shape[-2:]
    if (height, width) != (side, side):
        raise ValueError(f"{name} is {height}×{width}, expected {side}×{side} for this checkpoint")
    return tensor


def require_window(name: str, pcm: Tensor) -> Tensor:
    """Returns windows of PCM [rows, samples] as they are.

    Raises ValueError for a length that the contract's `features_shape` refuses, infinite samples, and a NaN that a
    sample follows: NaNs are the padding after the end of the speech (latentsync.audio.PADDING).
    """
    try:
        CONTRACT.features_shape(pcm.shape[1])
    except ValueError as error:
        raise ValueError(f"{name} is {error}") from None
    for window in pcm.cpu().numpy():  # by numpy in a tenth of torch's time: live speech waits for it
        spoken = window[: speech_samples(window)]
        if not np.isnan(window[len(spoken) :]).all():
            raise ValueError(f"{name} has samples that are NaN; only those past the end of the speech may be")
        if not np.isfinite(spoken).all():
            raise ValueError(f"{name} has {int(np.isinf(spoken).sum())} infinite samples")
    return pcm
