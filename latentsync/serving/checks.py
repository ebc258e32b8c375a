"""Checks of requests' tensors: each returns the tensor as it is, or raises ValueError that names it."""

from __future__ import annotations

import torch
from torch import Tensor

from latentsync.contract import CONTRACT


def require_finite(name: str, tensor: Tensor) -> Tensor:
    """Returns `tensor` as it is; raises ValueError that counts its values that are NaN or infinite."""
    # The minimum or the maximum is not finite if any value is not; finding them takes a tenth of the time of isfinite.
    if tensor.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all()):
        bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        raise ValueError(f"{name} has {bad} of {tensor.numel()} values that are NaN or infinite")
    return tensor


def require_chunk(name: str, tensor: Tensor) -> Tensor:
    """Returns chunks [rows, 16, ...] as they are; raises ValueError for another count of frames, and as above."""
    if tensor.shape[1] != CONTRACT.chunk_frames:
        raise ValueError(f"{name} has {tensor.shape[1]} frames, expected {CONTRACT.chunk_frames}")
    return require_finite(name, tensor)


def require_window(name: str, pcm: Tensor) -> Tensor:
    """Returns windows of PCM [rows, 480000] as they are.

    Raises ValueError for another length, infinite samples, and a NaN that a sample follows: NaNs are the padding after
    the end of the speech (latentsync.audio.PADDING).
    """
    if pcm.shape[1] != CONTRACT.window_samples:
        raise ValueError(f"{name} has {pcm.shape[1]} samples, expected {CONTRACT.window_samples}")
    padding = pcm.isnan()
    if bool((padding[:, :-1] & ~padding[:, 1:]).any()):
        raise ValueError(f"{name} has samples that are NaN; only those past the end of the speech may be")
    if bool(pcm.isinf().any()):
        raise ValueError(f"{name} has {int(pcm.isinf().sum())} infinite samples")
    return pcm
