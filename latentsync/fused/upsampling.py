"""A nearest-neighbour upsampling by two and the 3×3 convolution after it, as one 2×2 convolution of the small picture.

Each output pixel sees only 2×2 different small pixels: where two of the three taps of a row fall on the same one, their
weights add up. The four phases of an output pixel's place (even or odd row and column) have weights of their own, and
sit side by side in the channels of one convolution: 16 products a small pixel instead of 36, and no large input at all.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
