"""Pointwise kernels of the fused engine, in Triton the language (OpenAI's compiler, not NVIDIA's server).

All activations are rows of channels, [frames · height · width, channels], which is what channels-last convolutions and
matrix products both read: nothing is ever transposed. Sums are float32. Group norms take two passes, as the statistics
span frames: whatever writes a tensor also leaves sums over blocks of its rows, in an order that is always the same.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sum_channels(
    x, shift, sums, squares, frame_rows, channels, SPLITS: tl.constexpr, BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """Sums of x + shift, and of its squares, over each split of each frame's rows: [frames · SPLITS, channels]."""
    block = tl.program_id(0)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < channels
    first = (block // SPLITS).to(tl.int64) * frame_rows
    added = tl.load(shift + column, mask=inside, other=0.0)
    total = tl.zeros([BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        row = (block % SPLITS) * (BLOCK_R * LOOPS) + loop * BLOCK_R + tl.arange(0, BLOCK_R)
        mask = (row < frame_rows)[:, None] & inside[None, :]
        value = tl.load(x + (first + row)[:, None] * channels + column[None, :], mask=mask, other=0.0)
        value = tl.where(mask, value.to(tl.float32) + added[None, :], 0.0)
        total += tl.sum(value, 0)
        square += tl.sum(value * value, 0)
    place = block * channels + column
    tl.store(sums + place, total, mask=inside)
    tl.store(squares + place, square, mask=inside)


@triton.jit
def add(
    x, other, bias, out, sums, squares, frame_rows, channels, HAS_OTHER: tl.constexpr, WITH_SUMS: tl.constexpr,
    SPLITS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """out = x + bias, + other where there is one, and the sums of `sum_channels` of it."""
    block = tl.program_id(0)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < channels
    first = (block // SPLITS).to(tl.int64) * frame_rows
    added = tl.load(bias + column, mask=inside, other=0.0)
    total = tl.zeros([BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        row = (block % SPLITS) * (BLOCK_R * LOOPS) + loop * BLOCK_R + tl.arange(0, BLOCK_R)
        mask = (row < frame_rows)[:, None] & inside[None, :]
        place = (first + row)[:, None] * channels + column[None, :]
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) + added[None, :]
        if HAS_OTHER:
            value += tl.load(other + place, mask=mask, other=0.0).to(tl.float32)
        rounded = value.to(out.dtype.element_ty)
        tl.store(out + place, rounded, mask=mask)
        if WITH_SUMS:
            value = tl.where(mask, rounded.to(tl.float32), 0.0)
            total += tl.sum(value, 0)
            square += tl.sum(value * value, 0)
    if WITH_SUMS:
        place = block * channels + column
        tl.store(sums + place, total, mask=inside)
        tl.store(squares + place, square, mask=inside)


@triton.jit
def concatenate(
    left, right, out, sums, squares, frame_rows, left_channels, right_channels, SPLITS: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """out = both side by side along the channels, and the sums of `sum_channels` of it."""
    channels = left_channels + right_channels
    block = tl.program_id(0)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < channels
    is_left = column < left_channels
    first = (block // SPLITS).to(tl.int64) * frame_rows
    total = tl.zeros([BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        row = (block % SPLITS) * (BLOCK_R * LOOPS) + loop * BLOCK_R + tl.arange(0, BLOCK_R)
        mask = (row < frame_rows)[:, None] & inside[None, :]
        at = (first + row)[:, None]
        value = tl.load(left + at * left_channels + column[None, :], mask=mask & is_left[None, :], other=0.0)
        value += tl.load(
            right + at * right_channels + (column - left_channels)[None, :], mask=mask & ~is_left[None, :], other=0.0
        )
        tl.store(out + at * channels + column[None, :], value, mask=mask)
        value = value.to(tl.float32)
        total += tl.sum(value, 0)
        square += tl.sum(value * value, 0)
    place = block * channels + column
    tl.store(sums + place, total, mask=inside)
    tl.store(squares + place, square, mask=inside)


@triton.jit
def group_scales(
    sums, squares, shift, weight, bias, scale, offset, channels, group_channels, unit_splits, count, epsilon,
    BLOCK_S: tl.constexpr, BLOCK_G: tl.constexpr,
):  # fmt: skip
    """What a group norm multiplies and adds, per unit (the frames that share statistics) and channel.

    The norm of x + shift is x · scale + offset. `count` values make one group of one unit.
    """
    unit = tl.program_id(0)
    member = tl.arange(0, BLOCK_G)
    column = tl.program_id(1) * group_channels + member
    inside = member < group_channels
    total = tl.zeros([BLOCK_S, BLOCK_G], dtype=tl.float32)
    square = tl.zeros([BLOCK_S, BLOCK_G], dtype=tl.float32)
    for start in range(0, unit_splits, BLOCK_S):
        split = start + tl.arange(0, BLOCK_S)
        mask = (split < unit_splits)[:, None] & inside[None, :]
        place = (unit * unit_splits + split)[:, None] * channels + column[None, :]
        total += tl.load(sums + place, mask=mask, other=0.0)
        square += tl.load(squares + place, mask=mask, other=0.0)
    mean = tl.sum(tl.sum(total, 0), 0) / count
    variance = tl.maximum(tl.sum(tl.sum(square, 0), 0) / count - mean * mean, 0.0)
    factor = tl.load(weight + column, mask=inside, other=0.0) / tl.sqrt(variance + epsilon)
    added = tl.load(shift + column, mask=inside, other=0.0)
    constant = tl.load(bias + column, mask=inside, other=0.0) + (added - mean) * factor
    tl.store(scale + unit * channels + column, factor, mask=inside)
    tl.store(offset + unit * channels + column, constant, mask=inside)


@triton.jit
def scale_channels(
    x, scale, offset, out, frame_rows, channels, unit_frames, SILU: tl.constexpr, SPLITS: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out = x · scale + offset of the row's unit, through SiLU where asked."""
    block = tl.program_id(0)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < channels
    frame = block // SPLITS
    row = (block % SPLITS) * BLOCK_R + tl.arange(0, BLOCK_R)
    mask = (row < frame_rows)[:, None] & inside[None, :]
    place = (frame.to(tl.int64) * frame_rows + row)[:, None] * channels + column[None, :]
    unit = (frame // unit_frames) * channels + column
    factor = tl.load(scale + unit, mask=inside, other=0.0)
    constant = tl.load(offset + unit, mask=inside, other=0.0)
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) * factor[None, :] + constant[None, :]
    if SILU:
        value = value * tl.sigmoid(value)
    tl.store(out + place, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def layer_norm(
    x, shift, weight, bias, out, rows, channels, epsilon, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr
):  # fmt: skip
    """out = the layer norm of x + shift over its channels."""
    row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    column = tl.arange(0, BLOCK_C)
    inside = column < channels
    mask = (row < rows)[:, None] & inside[None, :]
    place = row.to(tl.int64)[:, None] * channels + column[None, :]
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    value += tl.load(shift + column, mask=inside, other=0.0)[None, :]
    mean = tl.sum(value, 1) / channels
    centred = tl.where(mask, value - mean[:, None], 0.0)
    deviation = tl.sqrt(tl.sum(centred * centred, 1) / channels + epsilon)
    factor = tl.load(weight + column, mask=inside, other=0.0)
    constant = tl.load(bias + column, mask=inside, other=0.0)
    result = centred / deviation[:, None] * factor[None, :] + constant[None, :]
    tl.store(out + place, result.to(out.dtype.element_ty), mask=mask)


@triton.jit
def gated_gelu(x, bias, out, rows, channels, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """out = a · gelu(b) for x + bias = (a, b) side by side, each `channels` wide."""
    row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < channels
    mask = (row < rows)[:, None] & inside[None, :]
    at = row.to(tl.int64)[:, None]
    place = at * (2 * channels) + column[None, :]
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    value += tl.load(bias + column, mask=inside, other=0.0)[None, :]
    gate = tl.load(x + place + channels, mask=mask, other=0.0).to(tl.float32)
    gate += tl.load(bias + channels + column, mask=inside, other=0.0)[None, :]
    gate = 0.5 * gate * (1.0 + tl.math.erf(gate * 0.7071067811865476))
    tl.store(out + at * channels + column[None, :], (value * gate).to(out.dtype.element_ty), mask=mask)


@triton.jit
def gated_product(
    x, weight, bias, out, rows, channels, INNER: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr, BAND: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """`gated_gelu` of x @ weight.T in one go: x [rows, INNER], weight [2 · channels, INNER], both in whole blocks.

    Programs go through the result in bands of BAND blocks of rows, so that neighbours share what they load.
    """
    program = tl.program_id(0)
    row_blocks = tl.cdiv(rows, BLOCK_R)
    band = BAND * (channels // BLOCK_C)
    first = program // band * BAND
    height = min(row_blocks - first, BAND)
    row = (first + program % band % height) * BLOCK_R + tl.arange(0, BLOCK_R)
    column = program % band // height * BLOCK_C + tl.arange(0, BLOCK_C)
    inner = tl.arange(0, BLOCK_K)
    inside = (row < rows)[:, None]
    at_x = x + row.to(tl.int64)[:, None] * INNER + inner[None, :]
    at_value = weight + column[None, :] * INNER + inner[:, None]
    at_gate = at_value + channels * INNER
    value = tl.zeros([BLOCK_R, BLOCK_C], dtype=tl.float32)
    gate = tl.zeros([BLOCK_R, BLOCK_C], dtype=tl.float32)
    for _ in tl.range(0, INNER, BLOCK_K, num_stages=STAGES):
        tile = tl.load(at_x, mask=inside, other=0.0)
        value = tl.dot(tile, tl.load(at_value), value)
        gate = tl.dot(tile, tl.load(at_gate), gate)
        at_x += BLOCK_K
        at_value += BLOCK_K
        at_gate += BLOCK_K
    value += tl.load(bias + column)[None, :]
    gate += tl.load(bias + channels + column)[None, :]
    gate = 0.5 * gate * (1.0 + tl.math.erf(gate * 0.7071067811865476))
    place = row.to(tl.int64)[:, None] * channels + column[None, :]
    tl.store(out + place, (value * gate).to(out.dtype.element_ty), mask=inside)


@triton.jit
def attend_to_few(
    query, keys, values, out, tokens, key_count, key_stride, channels, scale, WIDTH: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Attention to so few keys that one block holds them all: a frame's audio. A program has a head of a frame."""
    frame, head = tl.program_id(2), tl.program_id(1)
    token = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    member = tl.arange(0, BLOCK_W)
    key = tl.arange(0, BLOCK_N)
    inside = member < WIDTH
    mask = (token < tokens)[:, None] & inside[None, :]
    place = (frame * tokens + token).to(tl.int64)[:, None] * channels + head * WIDTH + member[None, :]
    asked = tl.load(query + place, mask=mask, other=0.0)
    at = (frame * key_count + key).to(tl.int64) * key_stride + head * WIDTH
    heard = key < key_count
    known = tl.load(keys + at[None, :] + member[:, None], mask=heard[None, :] & inside[:, None], other=0.0)
    score = tl.dot(asked, known) * (scale * 1.4426950408889634)
    score = tl.where(heard[None, :], score, -float("inf"))
    share = tl.exp2(score - tl.max(score, 1)[:, None])
    said = tl.load(values + at[:, None] + member[None, :], mask=heard[:, None] & inside[None, :], other=0.0)
    result = tl.dot(share.to(said.dtype), said) / tl.sum(share, 1)[:, None]
    tl.store(out + place, result.to(out.dtype.element_ty), mask=mask)


@triton.jit
def interleave(
    phases, bias, out, sums, squares, height, width, channels, WITH_SUMS: tl.constexpr, SPLITS: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, LOOPS: tl.constexpr,
):  # fmt: skip
    """The picture of twice the size of a convolution's four phases (see upsampling.py), + bias; sums as the others.

    phases is [frames, height/2 + 1, width/2 + 1, 4 · channels], out [frames, height, width, channels].
    """
    block = tl.program_id(0)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < channels
    frame = (block // SPLITS).to(tl.int64)
    frame_rows = height * width
    added = tl.load(bias + column, mask=inside, other=0.0)
    total = tl.zeros([BLOCK_C], dtype=tl.float32)
    square = tl.zeros([BLOCK_C], dtype=tl.float32)
    for loop in tl.static_range(LOOPS):
        row = (block % SPLITS) * (BLOCK_R * LOOPS) + loop * BLOCK_R + tl.arange(0, BLOCK_R)
        mask = (row < frame_rows)[:, None] & inside[None, :]
        y, x = row // width, row % width
        # Output (y, x) is of phase (y % 2, x % 2), at position ((y + 1) // 2, (x + 1) // 2).
        at = (frame * (height // 2 + 1) + (y + 1) // 2) * (width // 2 + 1) + (x + 1) // 2
        source = (at * 4 + (y % 2) * 2 + x % 2)[:, None] * channels + column[None, :]
        value = tl.load(phases + source, mask=mask, other=0.0).to(tl.float32) + added[None, :]
        rounded = value.to(out.dtype.element_ty)
        tl.store(out + (frame * frame_rows + row)[:, None] * channels + column[None, :], rounded, mask=mask)
        if WITH_SUMS:
            value = tl.where(mask, rounded.to(tl.float32), 0.0)
            total += tl.sum(value, 0)
            square += tl.sum(value * value, 0)
    if WITH_SUMS:
        place = block * channels + column
        tl.store(sums + place, total, mask=inside)
        tl.store(squares + place, square, mask=inside)
