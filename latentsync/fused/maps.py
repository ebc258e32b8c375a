"""What the fused kernels work on: feature maps whose channels lie last, their sums, and norms' parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Sums:
    """Partial sums of a tensor's channels and of their squares, float32 [frames · splits, channels]."""

    values: Tensor
    squares: Tensor
    splits: int


@dataclass(frozen=True)
class Maps:
    """Feature maps of frames: `rows` [frames · height · width, channels], and their sums if a kernel has stored them.

    `shift` float32 [channels] is what the next norm has to add; maps that have one have no sums. `skip` are the
    channels of a skip connection, which follow the rows' own as if they were concatenated.
    """

    rows: Tensor
    frames: int
    height: int
    width: int
    sums: Sums | None = None
    shift: Tensor | None = None
    skip: Maps | None = None

    @property
    def channels(self) -> int:
        """Channels of a pixel, with the skip connection's."""
        return self.rows.shape[1] + (0 if self.skip is None else self.skip.channels)

    @property
    def frame_rows(self) -> int:
        """Rows of one frame."""
        return self.height * self.width

    def like(self, rows: Tensor, sums: Sums | None = None) -> Maps:
        """Other rows of the same pictures."""
        return Maps(rows, self.frames, self.height, self.width, sums)

    def pictures(self) -> Tensor:
        """The same memory as [frames, channels, height, width], channels last."""
        return self.rows.view(self.frames, self.height, self.width, -1).permute(0, 3, 1, 2)

    @classmethod
    def of(cls, pictures: Tensor) -> Maps:
        """Maps of [frames, channels, height, width]; takes over channels-last memory as it is."""
        frames, _, height, width = pictures.shape
        return cls(pictures.permute(0, 2, 3, 1).reshape(frames * height * width, -1), frames, height, width)


@dataclass(frozen=True)
class Affine:
    """A norm's float32 weight and bias [channels], its epsilon, and its groups (1 for a layer norm)."""

    weight: Tensor
    bias: Tensor
    epsilon: float
    groups: int
    zeros: Tensor  # the shift of maps that have none

    @classmethod
    def of(cls, norm: nn.GroupNorm | nn.LayerNorm) -> Affine:
        """The parameters of a norm of torch's."""
        groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else 1
        return cls(norm.weight.float(), norm.bias.float(), norm.eps, groups, torch.zeros_like(norm.bias.float()))
