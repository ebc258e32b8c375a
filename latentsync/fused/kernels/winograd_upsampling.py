"""Input and output transform of an upsampling, see winograd.py: 3×3 pixels to 9 values, to 2×2 pixels."""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.launches import await_inputs
from latentsync.fused.kernels.norms import program_block, rows_of_split, store_sums
from latentsync.fused.kernels.winograd_pixels import first_output_pixel, store_output


@triton.jit
def _input_line(before, own, after):
    """Input transform along one axis: a pixel, and its neighbours' differences from it."""
    return before - own, own, after - own


@triton.jit
def _input_column(at, row, mask, has_above, has_below):
    """A pixel and those above and below it transformed; pixels outside the picture are zero."""
    return _input_line(
        tl.load(at - row, mask=mask & has_above, other=0.0).to(tl.float32),
        tl.load(at, mask=mask, other=0.0).to(tl.float32),
        tl.load(at + row, mask=mask & has_below, other=0.0).to(tl.float32),
    )


@triton.jit
def _store_input_line(at, plane, mask, a, b, c):
    """Transforms a row along the row, and stores it into its planes."""
    p0, p1, p2 = _input_line(a, b, c)
    dtype = at.dtype.element_ty
    tl.store(at, p0.to(dtype), mask=mask)
    tl.store(at + plane, p1.to(dtype), mask=mask)
    tl.store(at + 2 * plane, p2.to(dtype), mask=mask)


@triton.jit
def transform_input(x, out, tiles, height, width, channels, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr):
    """out [9, tiles, channels] = the input transform of x [frames · height · width, channels]; a pixel is a tile."""
    await_inputs()
    block, first_column = program_block(channels, BLOCK_C)
    tile = (block * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)[:, None]
    column = (first_column + tl.arange(0, BLOCK_C))[None, :]
    inside = (tile < tiles) & (column < channels)
    top, left = tile // width % height, tile % width
    has_above, has_below = top > 0, top < height - 1
    at = x + tile * channels + column
    row = width * channels
    a0, a1, a2 = _input_column(at - channels, row, inside & (left > 0), has_above, has_below)
    b0, b1, b2 = _input_column(at, row, inside, has_above, has_below)
    c0, c1, c2 = _input_column(at + channels, row, inside & (left < width - 1), has_above, has_below)
    plane = tiles.to(tl.int64) * channels
    to = out + tile * channels + column
    _store_input_line(to, plane, inside, a0, b0, c0)
    _store_input_line(to + 3 * plane, plane, inside, a1, b1, c1)
    _store_input_line(to + 6 * plane, plane, inside, a2, b2, c2)


@triton.jit
def _output_line(m0, m1, m2):
    """Output transform along one axis: three products to two pixels."""
    return m0 + m1, m1 + m2


@triton.jit
def _output_column(at, plane, mask):
    """A tile's column of products transformed along the column."""
    return _output_line(
        tl.load(at, mask=mask).to(tl.float32),
        tl.load(at + 3 * plane, mask=mask).to(tl.float32),
        tl.load(at + 6 * plane, mask=mask).to(tl.float32),
    )


@triton.jit
def _store_output_line(a, b, c, added, other, out, place, channels, mask, total, square, HAS_OTHER: tl.constexpr):
    """Transforms a row along the row, stores it + added (+ other), and adds the stored values to the sums."""
    p0, p1 = _output_line(a, b, c)
    total, square = store_output(p0, added, other, out, place, mask, total, square, HAS_OTHER)
    return store_output(p1, added, other, out, place + channels, mask, total, square, HAS_OTHER)


@triton.jit
def transform_output(
    products, other, bias, out, sums, squares, tiles, height, width, channels, HAS_OTHER: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """out = the output transform of products [9, tiles, channels] + bias (+ other), and its sums.

    The arguments are those of the other tiles; an upsampling has no `other`.
    The sums are as in norms.sum_channels, over each split of a frame's tiles: [frames · SPLITS, channels].
    """
    await_inputs()
    block, first_column = program_block(channels, BLOCK_C)
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
        a0, a1 = _output_column(at, plane, mask)
        b0, b1 = _output_column(at + plane, plane, mask)
        c0, c1 = _output_column(at + 2 * plane, plane, mask)
        place = first_output_pixel(frame, tile, height, width, column, channels, 2)
        total, square = _store_output_line(
            a0, b0, c0, added, other, out, place, channels, mask, total, square, HAS_OTHER
        )
        place += width * channels
        total, square = _store_output_line(
            a1, b1, c1, added, other, out, place, channels, mask, total, square, HAS_OTHER
        )
    store_sums(sums, squares, tl.sum(total, 0), tl.sum(square, 0), block, channel, channels)
