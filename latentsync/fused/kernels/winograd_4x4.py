"""Input and output transform of Winograd's F(4×4, 3×3), see winograd.py: 6×6 pixels to 36 values, to 4×4 pixels."""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.launches import await_inputs
from latentsync.fused.kernels.norms import program_block, rows_of_split, store_sums
from latentsync.fused.kernels.winograd_pixels import first_output_pixel, input_tiles, load_norm_silu, store_output
from latentsync.fused.winograd import FAR, NEAR

_A, _B = tl.constexpr(NEAR), tl.constexpr(FAR)
_AA, _BB = tl.constexpr(NEAR**2), tl.constexpr(FAR**2)
_AAA, _BBB = tl.constexpr(NEAR**3), tl.constexpr(FAR**3)
_SUM, _PRODUCT = tl.constexpr(NEAR**2 + FAR**2), tl.constexpr((NEAR * FAR) ** 2)


@triton.jit
def _input_line(p0, p1, p2, p3, p4, p5):
    """Input transform along one axis: six pixels to six points."""
    even, odd = p4 - p2 * _BB, (p3 - p1 * _BB) * _A
    even_far, odd_far = p4 - p2 * _AA, (p3 - p1 * _AA) * _B
    return (
        p4 - p2 * _SUM + p0 * _PRODUCT,
        even + odd,
        even - odd,
        even_far + odd_far,
        even_far - odd_far,
        p5 - p3 * _SUM + p1 * _PRODUCT,
    )


@triton.jit
def _output_line(m0, m1, m2, m3, m4, m5):
    """Output transform along one axis: six points' products to four pixels."""
    near, near_odd, far, far_odd = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return (
        m0 + near + far,
        near_odd * _A + far_odd * _B,
        near * _AA + far * _BB,
        near_odd * _AAA + far_odd * _BBB + m5,
    )


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
        load_norm_silu(at + 3 * row, factor, constant, mask),
        load_norm_silu(at + 4 * row, factor, constant, mask),
        load_norm_silu(at + 5 * row, factor, constant, mask & (top + 5 < height)),
    )


@triton.jit
def _store_input_line(at, plane, mask, a, b, c, d, e, f):
    """Transforms a tile's row along the row, and stores it into its planes."""
    p0, p1, p2, p3, p4, p5 = _input_line(a, b, c, d, e, f)
    dtype = at.dtype.element_ty
    tl.store(at, p0.to(dtype), mask=mask)
    tl.store(at + plane, p1.to(dtype), mask=mask)
    tl.store(at + 2 * plane, p2.to(dtype), mask=mask)
    tl.store(at + 3 * plane, p3.to(dtype), mask=mask)
    tl.store(at + 4 * plane, p4.to(dtype), mask=mask)
    tl.store(at + 5 * plane, p5.to(dtype), mask=mask)


@triton.jit
def transform_input(
    x, skip, scale, offset, out, tiles, height, width, channels, x_channels, unit_frames, BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out [36, tiles, channels] = the input transform of SiLU(x · scale + offset).

    The pictures [frames · height · width, channels] are x and skip concatenated (see norms.concatenated).
    """
    await_inputs()
    tile, column, inside, at, stride, top, left, factor, constant = input_tiles(
        x, skip, scale, offset, tiles, height, width, channels, x_channels, unit_frames, 4, BLOCK_T, BLOCK_C
    )
    a0, a1, a2, a3, a4, a5 = _input_column(at, factor, constant, inside, top, left, height, width, stride, 0)
    b0, b1, b2, b3, b4, b5 = _input_column(at, factor, constant, inside, top, left, height, width, stride, 1)
    c0, c1, c2, c3, c4, c5 = _input_column(at, factor, constant, inside, top, left, height, width, stride, 2)
    d0, d1, d2, d3, d4, d5 = _input_column(at, factor, constant, inside, top, left, height, width, stride, 3)
    e0, e1, e2, e3, e4, e5 = _input_column(at, factor, constant, inside, top, left, height, width, stride, 4)
    f0, f1, f2, f3, f4, f5 = _input_column(at, factor, constant, inside, top, left, height, width, stride, 5)
    plane = tiles.to(tl.int64) * channels
    to = out + tile * channels + column
    _store_input_line(to, plane, inside, a0, b0, c0, d0, e0, f0)
    _store_input_line(to + 6 * plane, plane, inside, a1, b1, c1, d1, e1, f1)
    _store_input_line(to + 12 * plane, plane, inside, a2, b2, c2, d2, e2, f2)
    _store_input_line(to + 18 * plane, plane, inside, a3, b3, c3, d3, e3, f3)
    _store_input_line(to + 24 * plane, plane, inside, a4, b4, c4, d4, e4, f4)
    _store_input_line(to + 30 * plane, plane, inside, a5, b5, c5, d5, e5, f5)


@triton.jit
def _output_column(at, plane, mask):
    """A tile's column of products transformed along the column."""
    return _output_line(
        tl.load(at, mask=mask).to(tl.float32),
        tl.load(at + 6 * plane, mask=mask).to(tl.float32),
        tl.load(at + 12 * plane, mask=mask).to(tl.float32),
        tl.load(at + 18 * plane, mask=mask).to(tl.float32),
        tl.load(at + 24 * plane, mask=mask).to(tl.float32),
        tl.load(at + 30 * plane, mask=mask).to(tl.float32),
    )


@triton.jit
def _store_output_line(
    a, b, c, d, e, f, added, other, out, place, channels, mask, total, square, HAS_OTHER: tl.constexpr
):  # fmt: skip
    """Transforms a row along the row, stores it + added (+ other), and adds the stored values to the sums."""
    p0, p1, p2, p3 = _output_line(a, b, c, d, e, f)
    total, square = store_output(p0, added, other, out, place, mask, total, square, HAS_OTHER)
    total, square = store_output(p1, added, other, out, place + channels, mask, total, square, HAS_OTHER)
    total, square = store_output(p2, added, other, out, place + 2 * channels, mask, total, square, HAS_OTHER)
    return store_output(p3, added, other, out, place + 3 * channels, mask, total, square, HAS_OTHER)


@triton.jit
def transform_output(
    products, other, bias, out, sums, squares, tiles, height, width, channels, HAS_OTHER: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """out = the output transform of products [36, tiles, channels] + bias (+ other), and its sums.

    The sums are as in norms.sum_channels, over each split of a frame's tiles: [frames · SPLITS, channels].
    """
    await_inputs()
    block, first_column = program_block(channels, BLOCK_C)
    channel = first_column + tl.arange(0, BLOCK_C)
    column = channel[None, :]
    frame_tiles = height // 4 * (width // 4)
    frame = (block // SPLITS).to(tl.int64)
    added = tl.load(bias + channel, mask=channel < channels)[None, :]
    plane = tiles.to(tl.int64) * channels
    row = width * channels
    total = tl.zeros([BLOCK_T, BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_T, BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        numbers, mask = rows_of_split(block, loop, frame_tiles, channel < channels, SPLITS, BLOCK_T, LOOPS)
        tile = numbers[:, None]
        at = products + (frame * frame_tiles + tile) * channels + column
        a0, a1, a2, a3 = _output_column(at, plane, mask)
        b0, b1, b2, b3 = _output_column(at + plane, plane, mask)
        c0, c1, c2, c3 = _output_column(at + 2 * plane, plane, mask)
        d0, d1, d2, d3 = _output_column(at + 3 * plane, plane, mask)
        e0, e1, e2, e3 = _output_column(at + 4 * plane, plane, mask)
        f0, f1, f2, f3 = _output_column(at + 5 * plane, plane, mask)
        place = first_output_pixel(frame, tile, height, width, column, channels, 4)
        total, square = _store_output_line(
            a0, b0, c0, d0, e0, f0, added, other, out, place, channels, mask, total, square, HAS_OTHER
        )
        total, square = _store_output_line(
            a1, b1, c1, d1, e1, f1, added, other, out, place + row, channels, mask, total, square, HAS_OTHER
        )
        total, square = _store_output_line(
            a2, b2, c2, d2, e2, f2, added, other, out, place + 2 * row, channels, mask, total, square, HAS_OTHER
        )
        total, square = _store_output_line(
            a3, b3, c3, d3, e3, f3, added, other, out, place + 3 * row, channels, mask, total, square, HAS_OTHER
        )
    store_sums(sums, squares, tl.sum(total, 0), tl.sum(square, 0), block, channel, channels)
