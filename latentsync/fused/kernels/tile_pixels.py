"""What the kinds of tiles have in common: which pixels a tile is made of, and what becomes of them."""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.activations import silu_of_double
from latentsync.fused.kernels.norms import own_part, source


@triton.jit
def tiles_to_spread(
    x, beside, scale, offset, tiles, height, width, channels, left_channels, unit_frames, SIDE: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """A program's tiles, SIDE pixels apart, and where the first pixel of each lies, one above and left of its own.

    Gives tile [T, 1], column [1, C] and their mask; the pixel's place, the channels in a pixel, the row and column in
    the picture; and half of what the norm multiplies and adds, for `normed`.
    """
    block, first_column = own_part(channels, BLOCK_C)
    tile = (block * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)[:, None]
    column = (first_column + tl.arange(0, BLOCK_C))[None, :]
    inside = (tile < tiles) & (column < channels)
    across = width // SIDE
    frame = tile // (height // SIDE * across)
    top = tile // across % (height // SIDE) * SIDE - 1
    left = tile % across * SIDE - 1
    unit = frame // unit_frames * channels
    factor = tl.load(scale + unit + column, mask=inside) * 0.5
    constant = tl.load(offset + unit + column, mask=inside) * 0.5
    start, stride = source(x, beside, left_channels, channels, first_column)
    at = start + ((frame * height + top) * width + left) * stride + column
    return tile, column, inside, at, stride, top, left, factor, constant


@triton.jit
def own_pixel(frame, tile, height, width, column, channels, SIDE: tl.constexpr):
    """Where the first of the pixels lies that a frame's tile stands for."""
    across = width // SIDE
    return ((frame * height + tile // across * SIDE) * width + tile % across * SIDE) * channels + column


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
