"""Norms, additions and upsampling of rows of channels, and the sums from which norms take their statistics.

All activations are rows of channels, [frames · height · width, channels], which is what channels-last convolutions and
matrix products both read: nothing is ever transposed. Sums are float32. Group norms take two passes, as the statistics
span frames: the kernel that writes a tensor also stores sums over blocks of its rows, always in the same order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.activations import silu_of_double
from latentsync.fused.kernels.launches import await_inputs


@triton.jit
def program_block(channels, BLOCK_C: tl.constexpr):
    """A program's block of rows and first channel; programs that run together read whole rows, which coalesces."""
    blocks = tl.cdiv(channels, BLOCK_C)
    return tl.program_id(0) // blocks, tl.program_id(0) % blocks * BLOCK_C


@triton.jit
def rows_of_split(
    block, loop, frame_rows, inside, SPLITS: tl.constexpr, BLOCK_R: tl.constexpr, LOOPS: tl.constexpr
):  # fmt: skip
    """The rows (or tiles) of a frame that a program reads in a loop, and the mask of these and its channels."""
    row = (block % SPLITS) * (BLOCK_R * LOOPS) + loop * BLOCK_R + tl.arange(0, BLOCK_R)
    return row, (row < frame_rows)[:, None] & inside[None, :]


@triton.jit
def store_and_sum(value, at, mask, total, square):
    """Stores a block, and adds its columns' sums of the stored values to `total` and `square`."""
    rounded = value.to(at.dtype.element_ty)
    tl.store(at, rounded, mask=mask)
    value = tl.where(mask, rounded.to(tl.float32), 0.0)
    return total + tl.sum(value, 0), square + tl.sum(value * value, 0)


@triton.jit
def store_sums(sums, squares, total, square, block, column, channels):
    """Stores a program's sums, and those of squares, for the next norm: [frames · SPLITS, channels]."""
    place = block * channels + column
    tl.store(sums + place, total, mask=column < channels)
    tl.store(squares + place, square, mask=column < channels)


@triton.jit
def sum_channels(
    x, shift, sums, squares, frame_rows, channels, SPLITS: tl.constexpr, BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """Sums of x + shift, and of its squares, over each split of each frame's rows: [frames · SPLITS, channels]."""
    await_inputs()
    block, first_column = program_block(channels, BLOCK_C)
    column = first_column + tl.arange(0, BLOCK_C)
    inside = column < channels
    first = (block // SPLITS).to(tl.int64) * frame_rows
    added = tl.load(shift + column, mask=inside, other=0.0)
    total = tl.zeros([BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        row, mask = rows_of_split(block, loop, frame_rows, inside, SPLITS, BLOCK_R, LOOPS)
        value = tl.load(x + (first + row)[:, None] * channels + column[None, :], mask=mask, other=0.0)
        value = tl.where(mask, value.to(tl.float32) + added[None, :], 0.0)
        total += tl.sum(value, 0)
        square += tl.sum(value * value, 0)
    store_sums(sums, squares, total, square, block, column, channels)


@triton.jit
def add(
    x, other, bias, out, sums, squares, frame_rows, channels, HAS_OTHER: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """out = x + bias (+ other), and its sums as in `sum_channels`."""
    await_inputs()
    block, first_column = program_block(channels, BLOCK_C)
    column = first_column + tl.arange(0, BLOCK_C)
    inside = column < channels
    first = (block // SPLITS).to(tl.int64) * frame_rows
    added = tl.load(bias + column, mask=inside, other=0.0)
    total = tl.zeros([BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        row, mask = rows_of_split(block, loop, frame_rows, inside, SPLITS, BLOCK_R, LOOPS)
        place = (first + row)[:, None] * channels + column[None, :]
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) + added[None, :]
        if HAS_OTHER:
            value += tl.load(other + place, mask=mask, other=0.0).to(tl.float32)
        total, square = store_and_sum(value, out + place, mask, total, square)
    store_sums(sums, squares, total, square, block, column, channels)


@triton.jit
def group_scales(
    sums, squares, skip_sums, skip_squares, shift, weight, bias, scale, offset, channels, x_channels,
    group_channels, unit_splits, skip_splits, count, epsilon, BLOCK_S: tl.constexpr, BLOCK_G: tl.constexpr,
):  # fmt: skip
    """A group norm's scale and offset, per unit (the frames that share statistics) and channel.

    The norm of x + shift is x · scale + offset. `count` values make one group of one unit. Channels from x_channels on
    are those of the skip connection, which have sums of their own.
    """
    await_inputs()
    unit = tl.program_id(0)
    member = tl.arange(0, BLOCK_G)
    column = tl.program_id(1) * group_channels + member
    inside = member < group_channels
    total = tl.zeros([BLOCK_S, BLOCK_G], dtype=tl.float32)
    square = tl.zeros([BLOCK_S, BLOCK_G], dtype=tl.float32)
    for start in range(0, unit_splits, BLOCK_S):
        split = start + tl.arange(0, BLOCK_S)
        mask = (split < unit_splits)[:, None] & (inside & (column < x_channels))[None, :]
        place = (unit * unit_splits + split)[:, None] * x_channels + column[None, :]
        total += tl.load(sums + place, mask=mask, other=0.0)
        square += tl.load(squares + place, mask=mask, other=0.0)
    for start in range(0, skip_splits, BLOCK_S):
        split = start + tl.arange(0, BLOCK_S)
        mask = (split < skip_splits)[:, None] & (inside & (column >= x_channels))[None, :]
        place = (unit * skip_splits + split)[:, None] * (channels - x_channels) + (column - x_channels)[None, :]
        total += tl.load(skip_sums + place, mask=mask, other=0.0)
        square += tl.load(skip_squares + place, mask=mask, other=0.0)
    mean = tl.sum(tl.sum(total, 0), 0) / count
    variance = tl.maximum(tl.sum(tl.sum(square, 0), 0) / count - mean * mean, 0.0)
    factor = tl.load(weight + column, mask=inside, other=0.0) / tl.sqrt(variance + epsilon)
    added = tl.load(shift + column, mask=inside, other=0.0)
    constant = tl.load(bias + column, mask=inside, other=0.0) + (added - mean) * factor
    tl.store(scale + unit * channels + column, factor, mask=inside)
    tl.store(offset + unit * channels + column, constant, mask=inside)


@triton.jit
def concatenated(x, skip, x_channels, channels, first):
    """Where channel `first` of x and skip, as if concatenated, begins, less `first`; and the stride of its rows."""
    is_x = first < x_channels
    width = tl.where(is_x, x_channels, channels - x_channels)
    return tl.where(is_x, x, skip - x_channels), width


@triton.jit
def scale_channels(
    x, skip, scale, offset, out, frame_rows, channels, x_channels, unit_frames, SILU: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out = x (and the skip's channels) · scale + offset of the row's unit, through SiLU if SILU."""
    await_inputs()
    block, first_column = program_block(channels, BLOCK_C)
    column = first_column + tl.arange(0, BLOCK_C)
    inside = column < channels
    frame = block // SPLITS
    row = (block % SPLITS) * BLOCK_R + tl.arange(0, BLOCK_R)
    mask = (row < frame_rows)[:, None] & inside[None, :]
    at = (frame.to(tl.int64) * frame_rows + row)[:, None]
    unit = (frame // unit_frames) * channels + column
    factor = tl.load(scale + unit, mask=inside, other=0.0)
    constant = tl.load(offset + unit, mask=inside, other=0.0)
    start, width = concatenated(x, skip, x_channels, channels, first_column)
    value = tl.load(start + at * width + column[None, :], mask=mask, other=0.0).to(tl.float32)
    if SILU:
        half = value * (factor * 0.5)[None, :] + (constant * 0.5)[None, :]
        value = silu_of_double(half, x.dtype.element_ty == tl.float32)
    else:
        value = value * factor[None, :] + constant[None, :]
    tl.store(out + at * channels + column[None, :], value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def layer_norm(
    x, shift, weight, bias, out, rows, channels, stride, epsilon, frame_rows, frames, HAS_PLACES: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out = the layer norm of x + shift over its channels; x's rows are `stride` apart.

    With HAS_PLACES bias is [frames, channels], a row for each frame of a chunk, whose rows are frame_rows each.
    """
    await_inputs()
    row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    column = tl.arange(0, BLOCK_C)
    inside = column < channels
    mask = (row < rows)[:, None] & inside[None, :]
    value = tl.load(x + row.to(tl.int64)[:, None] * stride + column[None, :], mask=mask, other=0.0).to(tl.float32)
    value += tl.load(shift + column, mask=inside, other=0.0)[None, :]
    mean = tl.sum(value, 1) / channels
    centred = tl.where(mask, value - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / channels + epsilon)
    factor = tl.load(weight + column, mask=inside, other=0.0)
    # Each way has its own sum: so the plain one compiles to the same instructions as before there were places.
    if HAS_PLACES:
        frame = row // frame_rows % frames
        placed = tl.load(bias + frame[:, None] * channels + column[None, :], mask=mask, other=0.0)
        result = centred * scale[:, None] * factor[None, :] + placed
    else:
        constant = tl.load(bias + column, mask=inside, other=0.0)
        result = centred * scale[:, None] * factor[None, :] + constant[None, :]
    place = row.to(tl.int64)[:, None] * channels + column[None, :]
    tl.store(out + place, result.to(out.dtype.element_ty), mask=mask)


@triton.jit
def interleave(
    phases, bias, out, sums, squares, height, width, channels, SPLITS: tl.constexpr, BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """The picture of twice the size out of a convolution's four phases (see upsampling.py), + bias, and its sums.

    phases is [frames, height/2 + 1, width/2 + 1, 4 · channels], out [frames, height, width, channels].
    """
    await_inputs()
    block, first_column = program_block(channels, BLOCK_C)
    column = first_column + tl.arange(0, BLOCK_C)
    inside = column < channels
    frame = (block // SPLITS).to(tl.int64)
    frame_rows = height * width
    added = tl.load(bias + column, mask=inside, other=0.0)
    total = tl.zeros([BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        row, mask = rows_of_split(block, loop, frame_rows, inside, SPLITS, BLOCK_R, LOOPS)
        y, x = row // width, row % width
        # Output (y, x) is of phase (y % 2, x % 2), at position ((y + 1) // 2, (x + 1) // 2).
        at = (frame * (height // 2 + 1) + (y + 1) // 2) * (width // 2 + 1) + (x + 1) // 2
        phase = (at * 4 + (y % 2) * 2 + x % 2)[:, None] * channels + column[None, :]
        value = tl.load(phases + phase, mask=mask, other=0.0).to(tl.float32) + added[None, :]
        at = out + (frame * frame_rows + row)[:, None] * channels + column[None, :]
        total, square = store_and_sum(value, at, mask, total, square)
    store_sums(sums, squares, total, square, block, column, channels)
