"""What Winograd's transforms of all tile sizes share: which pixels a tile reads and writes, and how."""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.activations import silu_of_double
from latentsync.fused.kernels.norms import concatenated, program_block


@triton.jit
def input_tiles(
    x, skip, scale, offset, tiles, height, width, channels, x_channels, unit_frames, SIDE: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """A program's tiles, SIDE pixels apart, and their first input pixel: one above and left of the first output pixel.

    Returns tile [T, 1], column [1, C] and their mask; the pixel's address, the channels in a pixel, the row and column
    in the picture; and half of the norm's scale and offset, for `load_norm_silu`.
    """
    block, first_column = program_block(channels, BLOCK_C)
    tile = (block * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)[:, None]
    column = (first_column + tl.arange(0, BLOCK_C))[None, :]
    inside = (tile < tiles) & (column < channels)
    tiles_in_row = width // SIDE
    frame = tile // (height // SIDE * tiles_in_row)
    top = tile // tiles_in_row % (height // SIDE) * SIDE - 1
    left = tile % tiles_in_row * SIDE - 1
    unit = frame // unit_frames * channels
    factor = tl.load(scale + unit + column, mask=inside) * 0.5
    constant = tl.load(offset + unit + column, mask=inside) * 0.5
    start, stride = concatenated(x, skip, x_channels, channels, first_column)
    at = start + ((frame * height + top) * width + left) * stride + column
    return tile, column, inside, at, stride, top, left, factor, constant


@triton.jit
def first_output_pixel(frame, tile, height, width, column, channels, SIDE: tl.constexpr):
    """The index of the first pixel that a frame's tile writes."""
    tiles_in_row = width // SIDE
    return ((frame * height + tile // tiles_in_row * SIDE) * width + tile % tiles_in_row * SIDE) * channels + column


@triton.jit
def load_norm_silu(at, factor, constant, mask):
    """SiLU of 2 · (pixel · factor + constant); 0 outside the mask."""
    value = tl.load(at, mask=mask).to(tl.float32) * factor + constant
    return tl.where(mask, silu_of_double(value, at.dtype.element_ty == tl.float32), 0.0)


@triton.jit
def store_output(value, added, other, out, place, mask, total, square, HAS_OTHER: tl.constexpr):
    """Stores value + added (+ other), and adds the stored values to `total` and `square`."""
    value += added
    if HAS_OTHER:
        value += tl.load(other + place, mask=mask).to(tl.float32)
    rounded = value.to(out.dtype.element_ty)
    tl.store(out + place, rounded, mask=mask)
    stored = tl.where(mask, rounded.to(tl.float32), 0.0)
    return total + stored, square + stored * stored
