"""3×3 convolutions by Winograd's minimal filtering, F(2×2, 3×3): 16 products for 2×2 pixels instead of 36.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. Each tile of 4×4 pixels, which overlaps its
neighbours by two, is turned into 16 numbers (`spread`), these are multiplied with the turned weights as 16 plain
matrix products, and the results turned into the tile's 2×2 pixels (`gather`). The two turns are additions alone, and
take the place of passes over memory that are there anyway: the norm before, the bias and the shortcut after.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def turned_weights(weight: Tensor) -> Tensor:
    """Weights [16, in, out] of those of a convolution [out, in, 3, 3]; computed in float32."""
    turn = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], device=weight.device)
    turned = torch.einsum("ai,oxij,bj->abxo", turn, weight.float(), turn)
    return turned.flatten(0, 1).to(weight.dtype).contiguous()


@triton.jit
def _turned_column(
    x, first, scale, offset, unit, column, inside, top, left, height, width, channels, J: tl.constexpr,
    SILU: tl.constexpr,
):  # fmt: skip
    """The four numbers of a tile's column J, turned along it: pixels x · scale + offset (through SiLU), 0 outside."""
    at_x = left + J
    factor = tl.load(scale + unit + column, mask=inside, other=0.0)
    constant = tl.load(offset + unit + column, mask=inside, other=0.0)
    across = inside & (at_x >= 0) & (at_x < width)
    at = x + (first + top * width + at_x) * channels + column
    above = _pixel(at, factor, constant, across & (top >= 0), SILU)
    upper = _pixel(at + width * channels, factor, constant, across & (top + 1 < height), SILU)
    lower = _pixel(at + 2 * width * channels, factor, constant, across & (top + 2 < height), SILU)
    below = _pixel(at + 3 * width * channels, factor, constant, across & (top + 3 < height), SILU)
    return above - lower, upper + lower, lower - upper, upper - below


@triton.jit
def _pixel(at, factor, constant, mask, SILU: tl.constexpr):
    value = tl.load(at, mask=mask, other=0.0).to(tl.float32) * factor + constant
    if SILU:
        value = value * tl.sigmoid(value)
    return tl.where(mask, value, 0.0)


@triton.jit
def _store_row(at, plane, mask, first, second, third, fourth):
    """Four numbers of a tile's turned row, turned across, into their planes."""
    kind = at.dtype.element_ty
    tl.store(at, (first - third).to(kind), mask=mask)
    tl.store(at + plane, (second + third).to(kind), mask=mask)
    tl.store(at + 2 * plane, (third - second).to(kind), mask=mask)
    tl.store(at + 3 * plane, (second - fourth).to(kind), mask=mask)


@triton.jit
def spread(
    x, scale, offset, out, tiles, height, width, channels, unit_frames, SILU: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out [16, tiles, channels] of pictures x · scale + offset of their unit [frames · height · width, channels]."""
    tile = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    column = (tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    inside = (tile < tiles)[:, None] & (column < channels)
    across = width // 2
    frame = tile // (height // 2 * across)
    top = (tile // across % (height // 2) * 2 - 1)[:, None]
    left = (tile % across * 2 - 1)[:, None]
    first = (frame.to(tl.int64) * (height * width))[:, None]
    unit = (frame // unit_frames * channels)[:, None]
    a0, a1, a2, a3 = _turned_column(
        x, first, scale, offset, unit, column, inside, top, left, height, width, channels, 0, SILU
    )
    b0, b1, b2, b3 = _turned_column(
        x, first, scale, offset, unit, column, inside, top, left, height, width, channels, 1, SILU
    )
    c0, c1, c2, c3 = _turned_column(
        x, first, scale, offset, unit, column, inside, top, left, height, width, channels, 2, SILU
    )
    d0, d1, d2, d3 = _turned_column(
        x, first, scale, offset, unit, column, inside, top, left, height, width, channels, 3, SILU
    )
    plane = tiles * channels
    at = out + tile.to(tl.int64)[:, None] * channels + column
    _store_row(at, plane, inside, a0, b0, c0, d0)
    _store_row(at + 4 * plane, plane, inside, a1, b1, c1, d1)
    _store_row(at + 8 * plane, plane, inside, a2, b2, c2, d2)
    _store_row(at + 12 * plane, plane, inside, a3, b3, c3, d3)


@triton.jit
def _gathered_column(at, plane, mask):
    """The two rows of a column of products, turned along it."""
    first = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(at + 4 * plane, mask=mask, other=0.0).to(tl.float32)
    third = tl.load(at + 8 * plane, mask=mask, other=0.0).to(tl.float32)
    fourth = tl.load(at + 12 * plane, mask=mask, other=0.0).to(tl.float32)
    return first + second + third, second - third - fourth


@triton.jit
def _finished(value, added, other, out, place, mask, HAS_OTHER: tl.constexpr):
    """Stores value + added (+ other) and returns what was stored."""
    value += added
    if HAS_OTHER:
        value += tl.load(other + place, mask=mask, other=0.0).to(tl.float32)
    rounded = value.to(out.dtype.element_ty)
    tl.store(out + place, rounded, mask=mask)
    return tl.where(mask, rounded.to(tl.float32), 0.0)


@triton.jit
def gather(
    products, other, bias, out, sums, squares, tiles, height, width, channels, HAS_OTHER: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """out = the pictures of products [16, tiles, channels], + bias, + other where there is one, and its sums.

    The sums are those of kernels.sum_channels, over each split of a frame's tiles: [frames · SPLITS, channels].
    """
    block = tl.program_id(0)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    column = channel[None, :]
    across = width // 2
    frame_tiles = height // 2 * across
    frame = (block // SPLITS).to(tl.int64)
    added = tl.load(bias + channel, mask=channel < channels, other=0.0)[None, :]
    plane = tiles * channels
    total = tl.zeros([BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        tile = (block % SPLITS) * (BLOCK_T * LOOPS) + loop * BLOCK_T + tl.arange(0, BLOCK_T)
        mask = (tile < frame_tiles)[:, None] & (column < channels)
        at = products + (frame * frame_tiles + tile)[:, None] * channels + column
        a0, a1 = _gathered_column(at, plane, mask)
        b0, b1 = _gathered_column(at + plane, plane, mask)
        c0, c1 = _gathered_column(at + 2 * plane, plane, mask)
        d0, d1 = _gathered_column(at + 3 * plane, plane, mask)
        row = frame * height * width + tile // across * 2 * width + tile % across * 2
        place = row[:, None] * channels + column
        under = place + width * channels
        value = _finished(a0 + b0 + c0, added, other, out, place, mask, HAS_OTHER)
        total += tl.sum(value, 0)
        square += tl.sum(value * value, 0)
        value = _finished(b0 - c0 - d0, added, other, out, place + channels, mask, HAS_OTHER)
        total += tl.sum(value, 0)
        square += tl.sum(value * value, 0)
        value = _finished(a1 + b1 + c1, added, other, out, under, mask, HAS_OTHER)
        total += tl.sum(value, 0)
        square += tl.sum(value * value, 0)
        value = _finished(b1 - c1 - d1, added, other, out, under + channels, mask, HAS_OTHER)
        total += tl.sum(value, 0)
        square += tl.sum(value * value, 0)
    place = block * channels + channel
    tl.store(sums + place, total, mask=channel < channels)
    tl.store(squares + place, square, mask=channel < channels)
