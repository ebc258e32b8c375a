"""Matrix products fused with what follows them: the feed-forward's gate, and attention to few keys."""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.activations import gelu
from latentsync.fused.kernels.launches import await_inputs


@triton.jit
def gated_gelu(x, bias, out, rows, channels, out_stride, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """out = a · gelu(b) for x + bias = (a, b) side by side, each `channels` wide; out's rows are out_stride apart."""
    await_inputs()
    row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < channels
    mask = (row < rows)[:, None] & inside[None, :]
    at = x + row.to(tl.int64)[:, None] * (2 * channels) + column[None, :]
    value = tl.load(at, mask=mask, other=0.0).to(tl.float32) + tl.load(bias + column, mask=inside, other=0.0)[None, :]
    gate = tl.load(at + channels, mask=mask, other=0.0).to(tl.float32)
    gate += tl.load(bias + channels + column, mask=inside, other=0.0)[None, :]
    place = row.to(tl.int64)[:, None] * out_stride + column[None, :]
    tl.store(out + place, (value * gelu(gate)).to(out.dtype.element_ty), mask=mask)


@triton.jit
def gated_product(
    x, weight, bias, out, rows, channels, INNER: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr, BAND: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """`gated_gelu` of x @ weight.T in one kernel: out [rows, channels].

    x [rows, INNER], weight [2 · channels, INNER] and out are tensor descriptors. Programs go through the result in
    bands of BAND blocks of rows, so that neighbours share what they load in the L2 cache.
    """
    await_inputs()
    program = tl.program_id(0)
    row_blocks = tl.cdiv(rows, BLOCK_R)
    band = BAND * (channels // BLOCK_C)
    first = program // band * BAND
    height = min(row_blocks - first, BAND)
    row = (first + program % band % height) * BLOCK_R
    column = program % band // height * BLOCK_C
    value = tl.zeros([BLOCK_R, BLOCK_C], dtype=tl.float32)
    gate = tl.zeros([BLOCK_R, BLOCK_C], dtype=tl.float32)
    for inner in tl.range(0, INNER, BLOCK_K, num_stages=STAGES):
        tile = x.load([row, inner])
        value = tl.dot(tile, weight.load([column, inner]).T, value)
        gate = tl.dot(tile, weight.load([channels + column, inner]).T, gate)
    at = bias + column + tl.arange(0, BLOCK_C)
    value += tl.load(at)[None, :]
    gate += tl.load(at + channels)[None, :]
    out.store([row, column], (value * gelu(gate)).to(out.dtype))


@triton.jit
def cross_attention(
    query, keys, values, out, tokens, key_count, key_stride, channels, scale, WIDTH: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Attention to so few keys that one block holds them all: a frame's audio. A program computes a head of a frame."""
    await_inputs()
    frame, head = tl.program_id(2), tl.program_id(1)
    token = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    member = tl.arange(0, BLOCK_W)
    key = tl.arange(0, BLOCK_N)
    inside = member < WIDTH
    mask = (token < tokens)[:, None] & inside[None, :]
    place = (frame * tokens + token).to(tl.int64)[:, None] * channels + head * WIDTH + member[None, :]
    q = tl.load(query + place, mask=mask, other=0.0)
    at = (frame * key_count + key).to(tl.int64) * key_stride + head * WIDTH
    is_key = key < key_count
    k = tl.load(keys + at[None, :] + member[:, None], mask=is_key[None, :] & inside[:, None], other=0.0)
    score = tl.dot(q, k) * (scale * 1.4426950408889634)
    score = tl.where(is_key[None, :], score, -float("inf"))
    weight = tl.exp2(score - tl.max(score, 1)[:, None])
    v = tl.load(values + at[:, None] + member[None, :], mask=is_key[:, None] & inside[None, :], other=0.0)
    result = tl.dot(weight.to(v.dtype), v) / tl.sum(weight, 1)[:, None]
    tl.store(out + place, result.to(out.dtype.element_ty), mask=mask)
