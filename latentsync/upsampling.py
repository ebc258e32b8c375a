"""A nearest-neighbour upsampling by two and the 3×3 convolution after it, as one convolution of the small picture.

Each output pixel sees only 2×2 different small pixels: where two of the three taps of a row fall on the same one, their
weights add up: 16 products a small pixel instead of 36, and the large input never exists. The four phases of an output
pixel (even or odd row and column) have weights of their own. A transposed convolution interleaves the phases; one 2×2
convolution leaves them as channels, for a kernel that interleaves them and adds the bias.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UpsamplingConvolution(nn.Module):
    """Upsampling and convolution as one transposed convolution, built from the 3×3 convolution [out, in, 3, 3]."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.bias = convolution.bias
        flipped = convolution.weight.float().transpose(0, 1).flip(2, 3)
        # Each small pixel is four of the large picture: the filter is summed over its shifts by a row and a column.
        summed = sum(F.pad(flipped, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1))
        summed = torch.as_tensor(summed, dtype=convolution.weight.dtype)
        self.weight = nn.Parameter(summed.contiguous(memory_format=torch.channels_last), requires_grad=False)

    def forward(self, picture: Tensor) -> Tensor:
        """Pictures [N, out, 2h, 2w] of pictures [N, in, h, w]."""
        return F.conv_transpose2d(picture, self.weight, self.bias, stride=2, padding=1)


def merge_upsampling(decoder: Any) -> None:
    """Puts `UpsamplingConvolution` into a decoder of diffusers' AutoencoderTiny or AutoencoderKL."""
    if hasattr(decoder, "layers"):
        for index in range(len(decoder.layers) - 1):
            if isinstance(decoder.layers[index], nn.Upsample):
                decoder.layers[index] = UpsamplingConvolution(decoder.layers[index + 1])
                decoder.layers[index + 1] = nn.Identity()
        return
    for stage in decoder.up_blocks:
        if stage.upsamplers:
            stage.upsamplers[0] = UpsamplingConvolution(stage.upsamplers[0].conv)


def phase_weights(weight: Tensor) -> Tensor:
    """Weights [4 · out, in, 2, 2] of the four phases, from those of the 3×3 convolution [out, in, 3, 3].

    With a padding of 1 the result has one row and column more than the small picture: output row y is row (y + 1) // 2
    of the phase with y's parity. Sums are taken in float32.
    """
    rows = _paired(weight.float(), 2)  # even and odd output rows
    phases = [column for row in rows for column in _paired(row, 3)]
    return torch.cat(phases).to(weight.dtype)


def _paired(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    first, middle, last = weight.unbind(axis)
    return torch.stack([first, middle + last], axis), torch.stack([first + middle, last], axis)
