"""LatentSync 1.5's motion modules: each pixel attends to itself in the other frames of its chunk.

The submodules' names are the original's, so that its state-dict keys fit as they are.
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.nn import functional as F

HEADS = 8
POSITIONS = 24  # the longest chunk that the positional encoding has places for
_NORM_GROUPS, _NORM_EPSILON = 32, 1e-6
# CUDA's attention kernels can't take 65,536 sequences, which is a chunk of 512×512 faces for each of 16 chunks.
_MOST_SEQUENCES = 1 << 15


class MotionLayers(StrEnum):
    """Which blocks of a UNet have motion modules, one behind each of their layers."""

    NONE = "none"  # LatentSync 1.0
    UP = "up"  # fine-tunes by the original's stage2_efficient.yaml
    ALL = "all"  # down and up: LatentSync 1.5 and 1.6


def sinusoid(channels: int) -> Tensor:
    """The positional encoding [1, 24, channels]: sin and cos of p · 10000^(-2i / channels) in turn."""
    place = torch.arange(POSITIONS)[:, None]
    angle = place * torch.exp(torch.arange(0, channels, 2) * (-math.log(10000.0) / channels))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[None, :, :channels]


class MotionModule(nn.Module):
    """Group norm per frame, a temporal transformer of one block, and the residual."""

    def __init__(self, channels: int) -> None:
        """Raises ValueError for a number of channels that the group norm's 32 groups don't divide."""
        super().__init__()
        if channels % _NORM_GROUPS:
            raise ValueError(f"a motion module of {channels} channels: they must be a multiple of {_NORM_GROUPS}")
        self.temporal_transformer = TemporalTransformer(channels)

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        """Maps [B·F, C, h, w] to the same shape; raises ValueError for chunks of more than 24 frames."""
        if frames > POSITIONS:
            raise ValueError(f"a chunk of {frames} frames: the motion modules have {POSITIONS} places")
        output: Tensor = hidden + self.temporal_transformer(hidden, frames)
        return output


class TemporalTransformer(nn.Module):
    """Two attentions over the frames of each pixel, and a gated feed-forward."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_NORM_GROUPS, channels, eps=_NORM_EPSILON)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(channels)])
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        """Maps [B·F, C, h, w] to the same shape, without the residual."""
        count, channels, height, width = hidden.shape
        pixels = self.norm(hidden).reshape(count // frames, frames, channels, height * width)
        tokens = self.proj_in(pixels.permute(0, 3, 1, 2).reshape(-1, frames, channels))
        for block in self.transformer_blocks:
            tokens = block(tokens)
        pixels = self.proj_out(tokens).reshape(count // frames, height * width, frames, channels)
        output: Tensor = pixels.permute(0, 2, 3, 1).reshape(count, channels, height, width)
        return output


class TemporalBlock(nn.Module):
    """Layer norm, attention and residual, twice; then the same with the feed-forward."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(FrameAttention(channels) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.ff = FeedForward(channels, activation_fn="geglu")
        self.ff_norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps [pixels, F, C] to the same shape."""
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            tokens = tokens + attention(norm(tokens))
        output: Tensor = tokens + self.ff(self.ff_norm(tokens))
        return output


class PositionalEncoding(nn.Module):
    """A frame's place in its chunk; the checkpoint has it among its tensors."""

    pe: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoid(channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Adds to [pixels, F, C] what belongs to each frame."""
        placed: Tensor = tokens + self.pe[:, : tokens.shape[1]]
        return placed


class FrameAttention(nn.Module):
    """Attention of all frames of a pixel to each other; places are added to queries, keys and values alike."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])
        self.pos_encoder = PositionalEncoding(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps [pixels, F, C] to the same shape."""
        placed = self.pos_encoder(tokens)
        query, key, value = (
            project(placed).unflatten(-1, (HEADS, -1)).transpose(1, 2) for project in (self.to_q, self.to_k, self.to_v)
        )
        attended = torch.cat(
            [
                F.scaled_dot_product_attention(*part)
                for part in zip(*(each.split(_MOST_SEQUENCES) for each in (query, key, value)), strict=True)
            ]
        )
        output: Tensor = self.to_out[0](attended.transpose(1, 2).flatten(2))
        return output
