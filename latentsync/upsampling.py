"""A nearest-neighbour upsampling by two and the 3×3 convolution after it, as one convolution of the small picture.

Each output pixel sees only 2×2 different small pixels: where two of the three taps of a row fall on the same one, their
weights add up: 16 products a small pixel instead of 36, and no large input at all. The four phases of an output pixel's
place (even or odd row and column) have weights of their own. A transposed convolution puts them where they belong; as
the channels of one 2×2 convolution they are left for a kernel that does more on the way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UpsamplingConvolution(nn.Module):
    """Both as one transposed convolution, from the 3×3 convolution [out, in, 3, 3] that would follow."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.bias = convolution.bias
        turned = convolution.weight.float().transpose(0, 1).flip(2, 3)
        # Each pixel of the small picture is four of the large one, a row and a column apart.
        spread = sum(F.pad(turned, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1))
        spread = torch.as_tensor(spread, dtype=convolution.weight.dtype)
        self.weight = nn.Parameter(spread.contiguous(memory_format=torch.channels_last), requires_grad=False)

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
    """Weights [4 · out, in, 2, 2] of the four phases from those of the 3×3 convolution [out, in, 3, 3].

    With a padding of 1 the result has one row and column more than the small picture: output row y of a phase with the
    parity of y is at row (y + 1) // 2. Sums are taken in float32.
    """
    rows = _paired(weight.float(), 2)  # even and odd output rows
    phases = [column for row in rows for column in _paired(row, 3)]
    return torch.cat(phases).to(weight.dtype)


def _paired(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    first, middle, last = weight.unbind(axis)
    return torch.stack([first, middle + last], axis), torch.stack([first + middle, last], axis)
