"""What both sizes of Winograd's tiles do with a pixel when they read and write it."""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.activations import silu_of_double


@triton.jit
def normed(at, factor, constant, mask):
    """SiLU of 2 · (pixel · factor + constant); 0 outside of the mask."""
    value = tl.load(at, mask=mask).to(tl.float32) * factor + constant
    return tl.where(mask, silu_of_double(value, at.dtype.element_ty == tl.float32), 0.0)


@triton.jit
def finished(value, added, other, out, place, mask, total, square, HAS_OTHER: tl.constexpr):
    """Stores value + added (+ other); returns the sums with what was stored."""
    value += added
    if HAS_OTHER:
        value += tl.load(other + place, mask=mask).to(tl.float32)
    rounded = value.to(out.dtype.element_ty)
    tl.store(out + place, rounded, mask=mask)
    stored = tl.where(mask, rounded.to(tl.float32), 0.0)
    return total + stored, square + stored * stored
