"""3×3 convolutions from or to a few channels: a library's kernels for wide ones would mostly multiply by padding.

Pixels outside the picture are zero.
"""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.launches import await_inputs
from latentsync.fused.kernels.norms import program_block, rows_of_split, store_and_sum, store_sums
from latentsync.fused.kernels.winograd_pixels import load_norm_silu


@triton.jit
def convolve_from_few(
    x, weight, bias, out, sums, squares, height, width, channels, FEW: tl.constexpr, BLOCK_K: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """out [rows, channels] of x [rows, FEW] by weight [3, 3 · FEW, channels], + bias; sums as in norms.sum_channels.

    Three neighbouring pixels of a line lie side by side in memory: together they are one row of a matrix product.
    """
    await_inputs()
    block, first_column = program_block(channels, BLOCK_C)
    column = first_column + tl.arange(0, BLOCK_C)
    inside = column < channels
    member = tl.arange(0, BLOCK_K)
    of_line = member < 3 * FEW
    frame_rows = height * width
    first = (block // SPLITS).to(tl.int64) * frame_rows
    added = tl.load(bias + column, mask=inside, other=0.0)
    total = tl.zeros([BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        row, mask = rows_of_split(block, loop, frame_rows, inside, SPLITS, BLOCK_R, LOOPS)
        value = tl.zeros([BLOCK_R, BLOCK_C], dtype=tl.float32)
        neighbour = (row % width)[:, None] + (member // FEW - 1)[None, :]
        in_line = (row < frame_rows)[:, None] & of_line[None, :] & (neighbour >= 0) & (neighbour < width)
        for line in tl.static_range(3):
            above = row // width + (line - 1)
            valid = in_line & ((above >= 0) & (above < height))[:, None]
            start = (first + row + (line - 1) * width - 1) * FEW
            pixels = tl.load(x + start[:, None] + member[None, :], mask=valid, other=0.0)
            at = (line * 3 * FEW + member)[:, None] * channels + column[None, :]
            taps = tl.load(weight + at, mask=of_line[:, None] & inside[None, :], other=0.0)
            value = tl.dot(pixels, taps, value)
        at = out + (first + row)[:, None] * channels + column[None, :]
        total, square = store_and_sum(value + added[None, :], at, mask, total, square)
    store_sums(sums, squares, total, square, block, column, channels)


@triton.jit
def multiply_by_taps(
    x, scale, offset, weight, out, frame_rows, channels, unit_frames, taps, SPLITS: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """out [rows, taps] = SiLU of x · scale + offset of the row's unit, @ weight [channels, taps].

    Each pixel is read and normalised once, and multiplied by the weights of all nine taps.
    """
    await_inputs()
    block = tl.program_id(0)
    frame = block // SPLITS
    row = (block % SPLITS) * BLOCK_R + tl.arange(0, BLOCK_R)
    in_frame = row < frame_rows
    row = frame.to(tl.int64) * frame_rows + row
    tap = tl.arange(0, BLOCK_T)
    unit = (frame // unit_frames) * channels
    value = tl.zeros([BLOCK_R, BLOCK_T], dtype=tl.float32)
    for start in range(0, channels, BLOCK_C):
        column = start + tl.arange(0, BLOCK_C)
        inside = column < channels
        factor = tl.load(scale + unit + column, mask=inside, other=0.0) * 0.5
        constant = tl.load(offset + unit + column, mask=inside, other=0.0) * 0.5
        at = x + row[:, None] * channels + column[None, :]
        pixel = load_norm_silu(at, factor[None, :], constant[None, :], in_frame[:, None] & inside[None, :])
        in_taps = inside[:, None] & (tap < taps)[None, :]
        by_tap = tl.load(weight + column[:, None] * taps + tap[None, :], mask=in_taps, other=0.0)
        value = tl.dot(pixel.to(by_tap.dtype), by_tap, value)
    place = row[:, None] * taps + tap[None, :]
    tl.store(out + place, value.to(out.dtype.element_ty), mask=in_frame[:, None] & (tap < taps)[None, :])


@triton.jit
def sum_taps(
    products, bias, out, rows, height, width, few, BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr
):  # fmt: skip
    """out [rows, few] = bias + the sum over taps of the products [rows, 9 · few] of the neighbour at that tap."""
    await_inputs()
    row = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    member = tl.arange(0, BLOCK_F)
    inside = member < few
    value = tl.zeros([BLOCK_R, BLOCK_F], dtype=tl.float32) + tl.load(bias + member, mask=inside, other=0.0)[None, :]
    for tap in tl.static_range(9):
        down, right = tap // 3 - 1, tap % 3 - 1
        y, x = row // width % height + down, row % width + right
        valid = (row < rows) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        at = (row + down * width + right)[:, None] * (9 * few) + (tap * few + member)[None, :]
        value += tl.load(products + at, mask=valid[:, None] & inside[None, :], other=0.0).to(tl.float32)
    place = row[:, None] * few + member[None, :]
    tl.store(out + place, value.to(out.dtype.element_ty), mask=(row < rows)[:, None] & inside[None, :])
