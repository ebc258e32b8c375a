"""Input and output transform of Winograd's F(2×2, 3×3), see winograd.py: 4×4 pixels to 16 values, to 2×2 pixels."""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.launches import await_inputs
from latentsync.fused.kernels.norms import program_block, rows_of_split, store_sums
from latentsync.fused.kernels.winograd_pixels import first_output_pixel, input_tiles, load_norm_silu, store_output


@triton.jit
def _input_line(p0, p1, p2, p3):
    """Input transform along one axis: four pixels to four points."""
    return p2 - p0, p2 + p1, p2 - p1, p3 - p1


@triton.jit
def _output_line(m0, m1, m2, m3):
    """Output transform along one axis: four points' products to two pixels."""
    return m0 + m1 + m2, m1 - m2 + m3


@triton.jit
def _input_column(at, factor, constant, inside, top, left, height, width, stride, J: tl.constexpr):
    """A tile's column J transformed along the column; pixels outside the picture are zero."""
    mask = inside & (left + J >= 0) & (left + J < width)
    at += J * stride
    row = width * stride
    return _input_line(
        load_norm_silu(at, factor, constant, mask & (top >= 0)),
        load_norm_silu(at + row, factor, constant, mask),
        load_norm_silu(at + 2 * row, factor, constant, mask),
        load_norm_silu(at + 3 * row, factor, constant, mask & (top + 3 < height)),
    )


@triton.jit
def _store_input_line(at, plane, mask, a, b, c, d):
    """Transforms a tile's row along the row, and stores it into its planes."""
    p0, p1, p2, p3 = _input_line(a, b, c, d)
    dtype = at.dtype.element_ty
    tl.store(at, p0.to(dtype), mask=mask)
    tl.store(at + plane, p1.to(dtype), mask=mask)
    tl.store(at + 2 * plane, p2.to(dtype), mask=mask)
    tl.store(at + 3 * plane, p3.to(dtype), mask=mask)


@triton.jit
def transform_input(
    x, skip, scale, offset, out, tiles, height, width, channels, x_channels, unit_frames, BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out [16, tiles, channels] = the input transform of SiLU(x · scale + offset).

    The pictures [frames · height · width, channels] are x and skip concatenated (see norms.concatenated).
    """
    await_inputs()
    tile, column, inside, at, stride, top, left, factor, constant = input_tiles(
        x, skip, scale, offset, tiles, height, width, channels, x_channels, unit_frames, 2, BLOCK_T, BLOCK_C
    )
    a0, a1, a2, a3 = _input_column(at, factor, constant, inside, top, left, height, width, stride, 0)
    b0, b1, b2, b3 = _input_column(at, factor, constant, inside, top, left, height, width, stride, 1)
    c0, c1, c2, c3 = _input_column(at, factor, constant, inside, top, left, height, width, stride, 2)
    d0, d1, d2, d3 = _input_column(at, factor, constant, inside, top, left, height, width, stride, 3)
    plane = tiles.to(tl.int64) * channels
    to = out + tile * channels + column
    _store_input_line(to, plane, inside, a0, b0, c0, d0)
    _store_input_line(to + 4 * plane, plane, inside, a1, b1, c1, d1)
    _store_input_line(to + 8 * plane, plane, inside, a2, b2, c2, d2)
    _store_input_line(to + 12 * plane, plane, inside, a3, b3, c3, d3)


@triton.jit
def _output_column(at, plane, mask):
    """A tile's column of products transformed along the column."""
    return _output_line(
        tl.load(at, mask=mask).to(tl.float32),
        tl.load(at + 4 * plane, mask=mask).to(tl.float32),
        tl.load(at + 8 * plane, mask=mask).to(tl.float32),
        tl.load(at + 12 * plane, mask=mask).to(tl.float32),
    )


@triton.jit
def _store_output_line(a, b, c, d, added, other, out, place, channels, mask, total, square, HAS_OTHER: tl.constexpr):
    """Transforms a row along the row, stores it + added (+ other), and adds the stored values to the sums."""
    p0, p1 = _output_line(a, b, c, d)
    total, square = store_output(p0, added, other, out, place, mask, total, square, HAS_OTHER)
    return store_output(p1, added, other, out, place + channels, mask, total, square, HAS_OTHER)


@triton.jit
def transform_output(
    products, other, bias, out, sums, squares, tiles, height, width, channels, HAS_OTHER: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """out = the output transform of products [16, tiles, channels] + bias (+ other), and its sums.

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
        d0, d1 = _output_column(at + 3 * plane, plane, mask)
        place = first_output_pixel(frame, tile, height, width, column, channels, 2)
        total, square = _store_output_line(
            a0, b0, c0, d0, added, other, out, place, channels, mask, total, square, HAS_OTHER
        )
        place += width * channels
        total, square = _store_output_line(
            a1, b1, c1, d1, added, other, out, place, channels, mask, total, square, HAS_OTHER
        )
    store_sums(sums, squares, tl.sum(total, 0), tl.sum(square, 0), block, channel, channels)
