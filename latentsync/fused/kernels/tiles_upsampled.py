"""The turns of an upsampling, see winograd.py: each pixel with its neighbours to 9 numbers, and back to 2×2 pixels."""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.launches import await_inputs
from latentsync.fused.kernels.norms import own_part, rows_of_split, store_sums
from latentsync.fused.kernels.tile_pixels import finished, own_pixel


@triton.jit
def _spread_line(before, own, after):
    """A pixel, and what its neighbours on a line have more than it."""
    return before - own, own, after - own


@triton.jit
def _spread_column(at, row, mask, has_above, has_below):
    """A pixel and those above and below it, turned; nothing is outside of the picture."""
    return _spread_line(
        tl.load(at - row, mask=mask & has_above, other=0.0).to(tl.float32),
        tl.load(at, mask=mask, other=0.0).to(tl.float32),
        tl.load(at + row, mask=mask & has_below, other=0.0).to(tl.float32),
    )


@triton.jit
def _store_line(at, plane, mask, a, b, c):
    """A turned row, turned across, into its planes."""
    p0, p1, p2 = _spread_line(a, b, c)
    kind = at.dtype.element_ty
    tl.store(at, p0.to(kind), mask=mask)
    tl.store(at + plane, p1.to(kind), mask=mask)
    tl.store(at + 2 * plane, p2.to(kind), mask=mask)


@triton.jit
def spread(x, out, tiles, height, width, channels, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr):
    """out [9, tiles, channels] of pictures [frames · height · width, channels], whose pixels are the tiles."""
    await_inputs()
    block, first_column = own_part(channels, BLOCK_C)
    tile = (block * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)[:, None]
    column = (first_column + tl.arange(0, BLOCK_C))[None, :]
    inside = (tile < tiles) & (column < channels)
    top, left = tile // width % height, tile % width
    has_above, has_below = top > 0, top < height - 1
    at = x + tile * channels + column
    row = width * channels
    a0, a1, a2 = _spread_column(at - channels, row, inside & (left > 0), has_above, has_below)
    b0, b1, b2 = _spread_column(at, row, inside, has_above, has_below)
    c0, c1, c2 = _spread_column(at + channels, row, inside & (left < width - 1), has_above, has_below)
    plane = tiles.to(tl.int64) * channels
    to = out + tile * channels + column
    _store_line(to, plane, inside, a0, b0, c0)
    _store_line(to + 3 * plane, plane, inside, a1, b1, c1)
    _store_line(to + 6 * plane, plane, inside, a2, b2, c2)


@triton.jit
def _gather_line(m0, m1, m2):
    """Two pixels of a line of three products."""
    return m0 + m1, m1 + m2


@triton.jit
def _gather_column(at, plane, mask):
    """A column of products, turned along it."""
    return _gather_line(
        tl.load(at, mask=mask).to(tl.float32),
        tl.load(at + 3 * plane, mask=mask).to(tl.float32),
        tl.load(at + 6 * plane, mask=mask).to(tl.float32),
    )


@triton.jit
def _finish_line(a, b, c, added, other, out, place, channels, mask, total, square, HAS_OTHER: tl.constexpr):
    """Turns a row across, stores it + added (+ other), and adds what was stored to the sums."""
    p0, p1 = _gather_line(a, b, c)
    total, square = finished(p0, added, other, out, place, mask, total, square, HAS_OTHER)
    return finished(p1, added, other, out, place + channels, mask, total, square, HAS_OTHER)


@triton.jit
def gather(
    products, other, bias, out, sums, squares, tiles, height, width, channels, HAS_OTHER: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """out = the pictures of products [9, tiles, channels], + bias, + other where there is one, and its sums.

    The arguments are those of the other tiles, though an upsampling adds nothing other.
    The sums are those of norms.sum_channels, over each split of a frame's tiles: [frames · SPLITS, channels].
    """
    await_inputs()
    block, first_column = own_part(channels, BLOCK_C)
    channel = first_column + tl.arange(0, BLOCK_C)
    column = channel[None, :]
    frame_tiles = height // 2 * (width // 2)
    frame = (block // SPLITS).to(tl.int64)
    added = tl.load(bias + channel, mask=channel < channels)[None, :]
    plane = tiles.to(tl.int64) * channels
    total = tl.zeros([BLOCK_T, BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_T, BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        numbers, mask = rows_of_split(block, loop, frame_tiles, channel < channels, SPLITS, BLOCK_T, LOOPS)
        tile = numbers[:, None]
        at = products + (frame * frame_tiles + tile) * channels + column
        a0, a1 = _gather_column(at, plane, mask)
        b0, b1 = _gather_column(at + plane, plane, mask)
        c0, c1 = _gather_column(at + 2 * plane, plane, mask)
        place = own_pixel(frame, tile, height, width, column, channels, 2)
        total, square = _finish_line(a0, b0, c0, added, other, out, place, channels, mask, total, square, HAS_OTHER)
        place += width * channels
        total, square = _finish_line(a1, b1, c1, added, other, out, place, channels, mask, total, square, HAS_OTHER)
    store_sums(sums, squares, tl.sum(total, 0), tl.sum(square, 0), block, channel, channels)
