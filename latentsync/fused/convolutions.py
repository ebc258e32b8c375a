"""Convolutions and upsamplings of feature maps: by the library, by Winograd's algorithm, or for few channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from latentsync.fused.kernels import narrow, norms, winograd_2x2, winograd_4x4, winograd_upsampling
from latentsync.fused.launching import (
    BLOCK_CHANNELS,
    BLOCK_ROWS,
    MOST_SUMMED_ROWS,
    block_channels,
    ceil_div,
    launch_options,
    power_of_two,
    skip_or_own,
    sum_grid,
    sum_layout,
)
from latentsync.fused.maps import Affine, Maps, Sums
from latentsync.fused.operators import scales

# Programs that fill a GPU: only beyond that number a program takes more than one block of tiles.
LEAST_PROGRAMS = 1024


@dataclass(frozen=True)
class WinogradKernels:
    """The kernels of a tile size; for each transform how many tiles a program holds at once, and its warps."""

    module: Any
    input_launch: tuple[int, int]
    output_launch: tuple[int, int]


WINOGRAD = {2: WinogradKernels(winograd_2x2, (4, 2), (4, 4)), 4: WinogradKernels(winograd_4x4, (1, 1), (4, 4))}
WINOGRAD_UPSAMPLING = WinogradKernels(winograd_upsampling, (4, 2), (4, 4))


def count_tiles(maps: Maps, side: int) -> int:
    """Tiles of side² pixels in all pictures; 0 if the pictures are no multiple of a tile."""
    return 0 if maps.height % side or maps.width % side else maps.rows.shape[0] // side**2


def winograd_convolve(
    maps: Maps, norm: Affine, unit_frames: int, weights: Tensor, side: int, bias: Tensor, other: Maps | None
) -> Maps:
    """Group norm, SiLU and a 3×3 convolution by winograd.transform_filter, + bias (+ other), with the sums."""
    kernels, count, (planes, inner, _) = WINOGRAD[side], count_tiles(maps, side), weights.shape
    scale, offset = scales(maps, norm, unit_frames)
    transformed, width = maps.rows.new_empty(planes, count, inner), block_channels(maps)
    block, warps = kernels.input_launch
    kernels.module.transform_input[(ceil_div(count, block) * ceil_div(inner, width),)](
        maps.rows, skip_or_own(maps).rows, scale, offset, transformed, count, maps.height, maps.width, inner,
        maps.rows.shape[1], unit_frames, BLOCK_T=block, BLOCK_C=width, num_warps=warps,
        **launch_options(transformed.device),
    )  # fmt: skip
    return _transform_output(
        kernels, torch.bmm(transformed, weights), (maps.frames, maps.height, maps.width), side, bias, other
    )


def winograd_upsample(maps: Maps, weights: Tensor, bias: Tensor) -> Maps:
    """A 3×3 convolution of the maps at twice their size, by winograd.transform_upsampling_filter, + bias; with sums."""
    count, channels = maps.rows.shape
    transformed, (block, warps) = maps.rows.new_empty(len(weights), count, channels), WINOGRAD_UPSAMPLING.input_launch
    WINOGRAD_UPSAMPLING.module.transform_input[(ceil_div(count, block) * ceil_div(channels, BLOCK_CHANNELS),)](
        maps.rows, transformed, count, maps.height, maps.width, channels, BLOCK_T=block, BLOCK_C=BLOCK_CHANNELS,
        num_warps=warps, **launch_options(transformed.device),
    )  # fmt: skip
    size = maps.frames, 2 * maps.height, 2 * maps.width
    return _transform_output(WINOGRAD_UPSAMPLING, torch.bmm(transformed, weights), size, 2, bias, None)


def _transform_output(
    kernels: WinogradKernels, products: Tensor, size: tuple[int, int, int], side: int, bias: Tensor, other: Maps | None
) -> Maps:
    """The output transform of products [planes, tiles, channels] + bias (+ other); `size` is frames, height, width."""
    (frames, height, width), (_, count, channels) = size, products.shape
    out = products.new_empty(count * side**2, channels)
    frame_tiles, column_blocks = count // frames, ceil_div(channels, BLOCK_CHANNELS)
    block, warps = kernels.output_launch
    block = min(block, power_of_two(frame_tiles))
    blocks = ceil_div(frame_tiles, block)
    spare = frames * blocks * column_blocks // LEAST_PROGRAMS
    loops = max(1, min(spare, blocks, MOST_SUMMED_ROWS // (side**2 * block)))
    splits = ceil_div(blocks, loops)
    sums = products.new_empty(2, frames * splits, channels, dtype=torch.float32)
    kernels.module.transform_output[(frames * splits * column_blocks,)](
        products, products if other is None else other.rows, bias, out, sums[0], sums[1], count, height, width,
        channels, HAS_OTHER=other is not None, SPLITS=splits, BLOCK_T=block, BLOCK_C=BLOCK_CHANNELS, LOOPS=loops,
        num_warps=warps, **launch_options(out.device),
    )  # fmt: skip
    return Maps(out, frames, height, width, Sums(sums[0], sums[1], splits))


def convolve(maps: Maps, weight: Tensor, stride: int = 1) -> Maps:
    """A convolution without its bias, which the kernel that reads the result adds."""
    return Maps.of(F.conv2d(maps.pictures(), weight, None, stride, padding=1))


def convolve_from_few(maps: Maps, weight: Tensor, bias: Tensor) -> Maps:
    """A 3×3 convolution by weight [3, 3 · channels of the maps, channels], + bias, with the sums."""
    few, channels = maps.channels, weight.shape[2]
    out = maps.rows.new_empty(maps.rows.shape[0], channels)
    layout, sums = sum_layout(maps, channels)
    narrow.convolve_from_few[sum_grid(maps, channels)](
        maps.rows, weight, bias, out, sums.values, sums.squares, maps.height, maps.width, channels, FEW=few,
        BLOCK_K=power_of_two(3 * few), **layout, **launch_options(out.device),
    )  # fmt: skip
    return maps.like(out, sums)


def convolve_to_few(maps: Maps, norm: Affine, unit_frames: int, weight: Tensor, bias: Tensor) -> Maps:
    """Group norm, SiLU and a 3×3 convolution by weight [channels, 9 · fewer channels], + bias."""
    scale, offset = scales(maps, norm, unit_frames)
    (rows, channels), taps, few = maps.rows.shape, weight.shape[1], len(bias)
    # Nine products are summed: bfloat16 would lose digits.
    dtype = torch.float16 if maps.rows.dtype == torch.float16 else torch.float32
    products = maps.rows.new_empty(rows, taps, dtype=dtype)
    block = min(BLOCK_ROWS, power_of_two(maps.frame_rows))
    splits = ceil_div(maps.frame_rows, block)
    narrow.multiply_by_taps[(maps.frames * splits,)](
        maps.rows, scale, offset, weight, products, maps.frame_rows, channels, unit_frames, taps, SPLITS=splits,
        BLOCK_R=block, BLOCK_C=BLOCK_CHANNELS, BLOCK_T=power_of_two(taps), **launch_options(products.device),
    )  # fmt: skip
    out, block = maps.rows.new_empty(rows, few), 128
    narrow.sum_taps[(ceil_div(rows, block),)](
        products, bias, out, rows, maps.height, maps.width, few, BLOCK_R=block, BLOCK_F=power_of_two(few),
        **launch_options(out.device),
    )  # fmt: skip
    return maps.like(out)


def upsample(maps: Maps, phases: Tensor, bias: Tensor) -> Maps:
    """A 3×3 convolution of the maps at twice their size (see upsampling.py for `phases`), with the sums."""
    result = convolve(maps, phases)
    height, width, channels = 2 * maps.height, 2 * maps.width, result.channels // 4
    large = Maps(maps.rows.new_empty(maps.frames * height * width, channels), maps.frames, height, width)
    layout, sums = sum_layout(large, channels)
    norms.interleave[sum_grid(large, channels)](
        result.rows, bias, large.rows, sums.values, sums.squares, height, width, channels, **layout,
        **launch_options(large.rows.device),
    )  # fmt: skip
    return large.like(large.rows, sums)
