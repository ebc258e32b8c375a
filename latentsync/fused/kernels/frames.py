"""Attention of each pixel to itself in the other frames of its chunk."""

from __future__ import annotations

import triton
import triton.language as tl

from latentsync.fused.kernels.launches import await_inputs


@triton.jit
def attend_over_frames(
    qkv, out, frames, frame_rows, channels, heads, scale, WIDTH: tl.constexpr, BLOCK_W: tl.constexpr,
    FRAMES: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """out [rows, channels] = attention of qkv [rows, 3 · channels], rows [chunks · frames · frame_rows].

    A program computes a head of PIXELS pixels in the FRAMES (at least `frames`) of a chunk as one product, in which
    only what belongs to the same pixel counts: tensor cores multiply no fewer rows at once. Heads of the same pixels
    run together, which coalesces.
    """
    await_inputs()
    head, block, chunk = tl.program_id(0) % heads, tl.program_id(0) // heads, tl.program_id(1)
    token = tl.arange(0, FRAMES * PIXELS)
    frame, own = token // PIXELS, token % PIXELS
    pixel = block * PIXELS + own
    member = tl.arange(0, BLOCK_W)
    inside = (member < WIDTH)[None, :]
    mask = ((frame < frames) & (pixel < frame_rows))[:, None] & inside
    row = ((chunk * frames + frame).to(tl.int64) * frame_rows + pixel)[:, None]
    at = qkv + row * (3 * channels) + head * WIDTH + member[None, :]
    query = tl.load(at, mask=mask, other=0.0)
    key = tl.load(at + channels, mask=mask, other=0.0)
    value = tl.load(at + 2 * channels, mask=mask, other=0.0)
    score = tl.dot(query, tl.trans(key)) * (scale * 1.4426950408889634)
    counts = (own[:, None] == own[None, :]) & (frame < frames)[None, :]
    score = tl.where(counts, score, -float("inf"))
    weight = tl.exp2(score - tl.max(score, 1)[:, None])
    result = tl.dot(weight.to(value.dtype), value) / tl.sum(weight, 1)[:, None]
    to = out + row * channels + head * WIDTH + member[None, :]
    tl.store(to, result.to(out.dtype.element_ty), mask=mask)
