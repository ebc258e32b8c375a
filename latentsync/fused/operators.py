"""Norms, sums and matrix products of feature maps on fused kernels."""

from __future__ import annotations

import torch
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from latentsync.fused.kernels import frames as frame_kernels
from latentsync.fused.kernels import norms, products
from latentsync.fused.launching import (
    BLOCK_ROWS,
    block_channels,
    ceil_div,
    launch_options,
    power_of_two,
    reads_by_descriptors,
    skip_or_own,
    sum_grid,
    sum_layout,
)
from latentsync.fused.maps import Affine, Maps, Sums

# Rows of a product of `attend_over_frames`: with fewer, tensor cores idle; with more, most of it is of other pixels.
_ATTENDING_TOKENS = 64


def group_norm(maps: Maps, norm: Affine, unit_frames: int, silu: bool) -> Maps:
    """Group norm of maps + their shift; each `unit_frames` frames share their statistics."""
    scale, offset = scales(maps, norm, unit_frames)
    out = maps.rows.new_empty(maps.rows.shape[0], maps.channels)
    block, width = min(BLOCK_ROWS, power_of_two(maps.frame_rows)), block_channels(maps)
    splits = ceil_div(maps.frame_rows, block)
    norms.scale_channels[(maps.frames * splits * ceil_div(maps.channels, width),)](
        maps.rows, skip_or_own(maps).rows, scale, offset, out, maps.frame_rows, maps.channels, maps.rows.shape[1],
        unit_frames, SILU=silu, SPLITS=splits, BLOCK_R=block, BLOCK_C=width, **launch_options(out.device),
    )  # fmt: skip
    return maps.like(out)


def project(maps: Maps, weight: Tensor) -> Tensor:
    """Rows of the maps, with the skip connection's channels, @ weight [channels, ..]."""
    if maps.skip is None:
        return maps.rows @ weight
    own = maps.rows.shape[1]
    return (maps.rows @ weight[:own]).addmm_(maps.skip.rows, weight[own:])


def scales(maps: Maps, norm: Affine, unit_frames: int) -> tuple[Tensor, Tensor]:
    """The norm's scale and offset: float32 [units, channels] each."""
    shift = norm.zeros if maps.shift is None else maps.shift
    sums = maps.sums or _sums_of(maps, shift)
    skip = sums if maps.skip is None else maps.skip.sums or _sums_of(maps.skip, norm.zeros)
    channels, group = maps.channels, maps.channels // norm.groups
    units = maps.frames // unit_frames
    scale = maps.rows.new_empty(2, units, channels, dtype=torch.float32)
    splits = unit_frames * sums.splits
    norms.group_scales[(units, norm.groups)](
        sums.values, sums.squares, skip.values, skip.squares, shift, norm.weight, norm.bias, scale[0], scale[1],
        channels, maps.rows.shape[1], group, splits, 0 if maps.skip is None else unit_frames * skip.splits,
        float(unit_frames * maps.frame_rows * group), norm.epsilon,
        BLOCK_S=min(64, power_of_two(splits)), BLOCK_G=power_of_two(group), **launch_options(scale.device),
    )  # fmt: skip
    return scale[0], scale[1]


def add(maps: Maps, bias: Tensor, other: Maps | None = None) -> Maps:
    """maps + bias [channels] (+ other), with the sums."""
    out = torch.empty_like(maps.rows)
    layout, sums = sum_layout(maps, maps.channels)
    norms.add[sum_grid(maps, maps.channels)](
        maps.rows, maps.rows if other is None else other.rows, bias, out, sums.values, sums.squares, maps.frame_rows,
        maps.channels, HAS_OTHER=other is not None, **layout, **launch_options(out.device),
    )  # fmt: skip
    return maps.like(out, sums)


def layer_norm(
    x: Tensor, norm: Affine, shift: Tensor, places: Tensor | None = None, frame_rows: int = 1, frames: int = 1
) -> Tensor:
    """The layer norm of rows x + shift [channels]; x may be columns of a wider tensor.

    `places` float32 [at least frames, channels] stand for the norm's bias: a row for each of the frames of a chunk,
    which have frame_rows rows each.
    """
    rows, channels = x.shape
    out = x.new_empty(rows, channels)
    width = power_of_two(channels)
    block = max(1, 4096 // width)
    norms.layer_norm[(ceil_div(rows, block),)](
        x, shift, norm.weight, norm.bias if places is None else places, out, rows, channels, x.stride(0), norm.epsilon,
        frame_rows, frames, HAS_PLACES=places is not None, BLOCK_R=block, BLOCK_C=width, **launch_options(x.device),
    )  # fmt: skip
    return out


def gated_gelu(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> None:
    """a · gelu(b) of x @ weight.T + bias = (a, b): fills out [rows, channels] for weight [2 · channels, inner].

    out may be columns of a wider tensor.
    """
    (rows, inner), channels = x.shape, weight.shape[0] // 2
    block, width, depth = 128, 64, 64
    if channels % width or inner % 8 or not reads_by_descriptors(x.device):
        block, width = 16, 128
        products.gated_gelu[(ceil_div(rows, block), ceil_div(channels, width))](
            x @ weight.t(), bias, out, rows, channels, out.stride(0), BLOCK_R=block, BLOCK_C=width,
            **launch_options(x.device),
        )  # fmt: skip
        return
    products.gated_product[(ceil_div(rows, block) * (channels // width),)](
        TensorDescriptor.from_tensor(x, [block, depth]), TensorDescriptor.from_tensor(weight, [width, depth]), bias,
        TensorDescriptor.from_tensor(out, [block, width]), rows, channels,
        INNER=inner, BLOCK_R=block, BLOCK_C=width, BLOCK_K=depth, BAND=8, STAGES=3, num_warps=4,
        **launch_options(x.device),
    )  # fmt: skip


def cross_attention(query: Tensor, keys: Tensor, values: Tensor, frames: int, heads: int) -> Tensor:
    """Attention of rows [frames · tokens, channels] to at most 64 keys of their frame: rows again.

    Keys and values [frames · n, channels] may be columns of one wider tensor, with the same stride.
    """
    (rows, channels), count = query.shape, keys.shape[0] // frames
    out = torch.empty_like(query)
    width = channels // heads
    products.cross_attention[(ceil_div(rows // frames, 64), heads, frames)](
        query, keys, values, out, rows // frames, count, keys.stride(0), channels, width**-0.5,
        WIDTH=width, BLOCK_T=64, BLOCK_W=max(16, power_of_two(width)), BLOCK_N=64, **launch_options(out.device),
    )  # fmt: skip
    return out


def attend_over_frames(qkv: Tensor, heads: int, frame_rows: int, frames: int) -> Tensor:
    """Attention of each pixel over the frames of its chunk: rows [chunks · frames · frame_rows, channels].

    Takes queries, keys and values side by side: rows [.., 3 · channels].
    """
    rows, channels = qkv.shape[0], qkv.shape[1] // 3
    out = qkv.new_empty(rows, channels)
    width, most = channels // heads, max(2, power_of_two(frames))
    pixels = max(1, _ATTENDING_TOKENS // most)
    frame_kernels.attend_over_frames[(ceil_div(frame_rows, pixels) * heads, rows // (frames * frame_rows))](
        qkv, out, frames, frame_rows, channels, heads, width**-0.5, WIDTH=width,
        BLOCK_W=max(16, power_of_two(width)), FRAMES=most, PIXELS=pixels, **launch_options(out.device),
    )  # fmt: skip
    return out


def _sums_of(maps: Maps, shift: Tensor) -> Sums:
    layout, sums = sum_layout(maps, maps.rows.shape[1])
    norms.sum_channels[sum_grid(maps, maps.rows.shape[1])](
        maps.rows, shift, sums.values, sums.squares, maps.frame_rows, maps.rows.shape[1], **layout,
        **launch_options(shift.device),
    )  # fmt: skip
    return sums
