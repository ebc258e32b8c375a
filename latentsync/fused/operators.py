"""The fused kernels as functions on pictures whose channels lie last."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from triton.tools.tensor_descriptor import TensorDescriptor

from latentsync.fused.kernels import narrow, norms, products, winograd_2x2, winograd_4x4, winograd_upsampling

_BLOCK_ROWS, _BLOCK_CHANNELS = 64, 64
# Programs that fill a GPU: only beyond that number a program takes more than one block of tiles.
LEAST_PROGRAMS = 1024
# Rows that one program sums: few enough to leave programs that fill a GPU, enough to leave few partial sums.
_MOST_SUMMED_ROWS = 128


@dataclass(frozen=True)
class WinogradKernels:
    """The kernels of a tile size; for each transform how many tiles a program holds at once, and its warps."""

    module: Any
    input_launch: tuple[int, int]
    output_launch: tuple[int, int]


WINOGRAD = {2: WinogradKernels(winograd_2x2, (4, 2), (4, 4)), 4: WinogradKernels(winograd_4x4, (1, 1), (4, 4))}
WINOGRAD_UPSAMPLING = WinogradKernels(winograd_upsampling, (4, 2), (4, 4))


@dataclass(frozen=True)
class Sums:
    """Partial sums of a tensor's channels and of their squares, float32 [frames · splits, channels]."""

    values: Tensor
    squares: Tensor
    splits: int


@dataclass(frozen=True)
class Maps:
    """Feature maps of frames: `rows` [frames · height · width, channels], and their sums if a kernel has stored them.

    `shift` float32 [channels] is what the next norm has to add; maps that have one have no sums. `skip` are the
    channels of a skip connection, which follow the rows' own as if they were concatenated.
    """

    rows: Tensor
    frames: int
    height: int
    width: int
    sums: Sums | None = None
    shift: Tensor | None = None
    skip: Maps | None = None

    @property
    def channels(self) -> int:
        """Channels of a pixel, with the skip connection's."""
        return self.rows.shape[1] + (0 if self.skip is None else self.skip.channels)

    @property
    def frame_rows(self) -> int:
        """Rows of one frame."""
        return self.height * self.width

    def like(self, rows: Tensor, sums: Sums | None = None) -> Maps:
        """Other rows of the same pictures."""
        return Maps(rows, self.frames, self.height, self.width, sums)

    def pictures(self) -> Tensor:
        """The same memory as [frames, channels, height, width], channels last."""
        return self.rows.view(self.frames, self.height, self.width, -1).permute(0, 3, 1, 2)

    @classmethod
    def of(cls, pictures: Tensor) -> Maps:
        """Maps of [frames, channels, height, width]; takes over channels-last memory as it is."""
        frames, _, height, width = pictures.shape
        return cls(pictures.permute(0, 2, 3, 1).reshape(frames * height * width, -1), frames, height, width)


@dataclass(frozen=True)
class Affine:
    """A norm's float32 weight and bias [channels], its epsilon, and its groups (1 for a layer norm)."""

    weight: Tensor
    bias: Tensor
    epsilon: float
    groups: int
    zeros: Tensor  # the shift of maps that have none

    @classmethod
    def of(cls, norm: nn.GroupNorm | nn.LayerNorm) -> Affine:
        """The parameters of a norm of torch's."""
        groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else 1
        return cls(norm.weight.float(), norm.bias.float(), norm.eps, groups, torch.zeros_like(norm.bias.float()))


def group_norm(maps: Maps, norm: Affine, unit_frames: int, silu: bool) -> Maps:
    """Group norm of maps + their shift; each `unit_frames` frames share their statistics."""
    scale, offset = _scales(maps, norm, unit_frames)
    out = maps.rows.new_empty(maps.rows.shape[0], maps.channels)
    block, width = min(_BLOCK_ROWS, _power_of_two(maps.frame_rows)), _block_channels(maps)
    splits = _ceil(maps.frame_rows, block)
    norms.scale_channels[(maps.frames * splits * _ceil(maps.channels, width),)](
        maps.rows, _skip(maps).rows, scale, offset, out, maps.frame_rows, maps.channels, maps.rows.shape[1],
        unit_frames, SILU=silu, SPLITS=splits, BLOCK_R=block, BLOCK_C=width, **_launch_options(out.device),
    )  # fmt: skip
    return maps.like(out)


def project(maps: Maps, weight: Tensor) -> Tensor:
    """Rows of the maps, with the skip connection's channels, @ weight [channels, ..]."""
    if maps.skip is None:
        return maps.rows @ weight
    own = maps.rows.shape[1]
    return (maps.rows @ weight[:own]).addmm_(maps.skip.rows, weight[own:])


def _scales(maps: Maps, norm: Affine, unit_frames: int) -> tuple[Tensor, Tensor]:
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
        BLOCK_S=min(64, _power_of_two(splits)), BLOCK_G=_power_of_two(group), **_launch_options(scale.device),
    )  # fmt: skip
    return scale[0], scale[1]


def _skip(maps: Maps) -> Maps:
    # A kernel needs some pointer; without a skip connection it does not read it.
    return maps if maps.skip is None else maps.skip


def _block_channels(maps: Maps) -> int:
    """Channels of a block, which lie in the rows or in the skip connection, but not in both."""
    return _BLOCK_CHANNELS if maps.skip is None else math.gcd(_BLOCK_CHANNELS, maps.rows.shape[1])


def count_tiles(maps: Maps, side: int) -> int:
    """Tiles of side² pixels in all pictures; 0 if the pictures are no multiple of a tile."""
    return 0 if maps.height % side or maps.width % side else maps.rows.shape[0] // side**2


def winograd_convolve(
    maps: Maps, norm: Affine, unit_frames: int, weights: Tensor, side: int, bias: Tensor, other: Maps | None
) -> Maps:
    """Group norm, SiLU and a 3×3 convolution by winograd.transform_filter, + bias (+ other), with the sums."""
    kernels, count, (planes, inner, _) = WINOGRAD[side], count_tiles(maps, side), weights.shape
    scale, offset = _scales(maps, norm, unit_frames)
    transformed, width = maps.rows.new_empty(planes, count, inner), _block_channels(maps)
    block, warps = kernels.input_launch
    kernels.module.transform_input[(_ceil(count, block) * _ceil(inner, width),)](
        maps.rows, _skip(maps).rows, scale, offset, transformed, count, maps.height, maps.width, inner,
        maps.rows.shape[1], unit_frames, BLOCK_T=block, BLOCK_C=width, num_warps=warps,
        **_launch_options(transformed.device),
    )  # fmt: skip
    return _transform_output(
        kernels, torch.bmm(transformed, weights), (maps.frames, maps.height, maps.width), side, bias, other
    )


def winograd_upsample(maps: Maps, weights: Tensor, bias: Tensor) -> Maps:
    """A 3×3 convolution of the maps at twice their size, by winograd.transform_upsampling_filter, + bias; with sums."""
    count, channels = maps.rows.shape
    transformed, (block, warps) = maps.rows.new_empty(len(weights), count, channels), WINOGRAD_UPSAMPLING.input_launch
    WINOGRAD_UPSAMPLING.module.transform_input[(_ceil(count, block) * _ceil(channels, _BLOCK_CHANNELS),)](
        maps.rows, transformed, count, maps.height, maps.width, channels, BLOCK_T=block, BLOCK_C=_BLOCK_CHANNELS,
        num_warps=warps, **_launch_options(transformed.device),
    )  # fmt: skip
    size = maps.frames, 2 * maps.height, 2 * maps.width
    return _transform_output(WINOGRAD_UPSAMPLING, torch.bmm(transformed, weights), size, 2, bias, None)


def _transform_output(
    kernels: WinogradKernels, products: Tensor, size: tuple[int, int, int], side: int, bias: Tensor, other: Maps | None
) -> Maps:
    """The output transform of products [planes, tiles, channels] + bias (+ other); `size` is frames, height, width."""
    (frames, height, width), (_, count, channels) = size, products.shape
    out = products.new_empty(count * side**2, channels)
    frame_tiles, column_blocks = count // frames, _ceil(channels, _BLOCK_CHANNELS)
    block, warps = kernels.output_launch
    block = min(block, _power_of_two(frame_tiles))
    blocks = _ceil(frame_tiles, block)
    spare = frames * blocks * column_blocks // LEAST_PROGRAMS
    loops = max(1, min(spare, blocks, _MOST_SUMMED_ROWS // (side**2 * block)))
    splits = _ceil(blocks, loops)
    sums = products.new_empty(2, frames * splits, channels, dtype=torch.float32)
    kernels.module.transform_output[(frames * splits * column_blocks,)](
        products, products if other is None else other.rows, bias, out, sums[0], sums[1], count, height, width,
        channels, HAS_OTHER=other is not None, SPLITS=splits, BLOCK_T=block, BLOCK_C=_BLOCK_CHANNELS, LOOPS=loops,
        num_warps=warps, **_launch_options(out.device),
    )  # fmt: skip
    return Maps(out, frames, height, width, Sums(sums[0], sums[1], splits))


def add(maps: Maps, bias: Tensor, other: Maps | None = None) -> Maps:
    """maps + bias [channels] (+ other), with the sums."""
    out = torch.empty_like(maps.rows)
    layout, sums = _sum_layout(maps, maps.channels)
    norms.add[_grid(maps, maps.channels)](
        maps.rows, maps.rows if other is None else other.rows, bias, out, sums.values, sums.squares, maps.frame_rows,
        maps.channels, HAS_OTHER=other is not None, **layout, **_launch_options(out.device),
    )  # fmt: skip
    return maps.like(out, sums)


def layer_norm(x: Tensor, norm: Affine, shift: Tensor) -> Tensor:
    """The layer norm of rows x + shift [channels]; x may be columns of a wider tensor."""
    rows, channels = x.shape
    out = x.new_empty(rows, channels)
    width = _power_of_two(channels)
    block = max(1, 4096 // width)
    norms.layer_norm[(_ceil(rows, block),)](
        x, shift, norm.weight, norm.bias, out, rows, channels, x.stride(0), norm.epsilon, BLOCK_R=block, BLOCK_C=width,
        **_launch_options(x.device),
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
        products.gated_gelu[(_ceil(rows, block), _ceil(channels, width))](
            x @ weight.t(), bias, out, rows, channels, out.stride(0), BLOCK_R=block, BLOCK_C=width,
            **_launch_options(x.device),
        )  # fmt: skip
        return
    products.gated_product[(_ceil(rows, block) * (channels // width),)](
        TensorDescriptor.from_tensor(x, [block, depth]), TensorDescriptor.from_tensor(weight, [width, depth]), bias,
        TensorDescriptor.from_tensor(out, [block, width]), rows, channels,
        INNER=inner, BLOCK_R=block, BLOCK_C=width, BLOCK_K=depth, BAND=8, STAGES=3, num_warps=4,
        **_launch_options(x.device),
    )  # fmt: skip


def reads_by_descriptors(device: torch.device) -> bool:
    """Whether one instruction loads a block there (TMA); elsewhere Triton emulates that by single loads."""
    return device.type != "cuda" or _is_hopper(device)


def _launch_options(device: torch.device) -> dict[str, bool]:
    """Launch options of all kernels, each of which begins with launches.await_inputs."""
    return {"launch_pdl": True} if device.type == "cuda" and _is_hopper(device) else {}


@functools.cache
def _is_hopper(device: torch.device) -> bool:
    """Whether it is a Hopper GPU or a later one."""
    return torch.cuda.get_device_capability(device) >= (9, 0)


def cross_attention(query: Tensor, keys: Tensor, values: Tensor, frames: int, heads: int) -> Tensor:
    """Attention of rows [frames · tokens, channels] to at most 64 keys of their frame: rows again.

    Keys and values [frames · n, channels] may be columns of one wider tensor, with the same stride.
    """
    (rows, channels), count = query.shape, keys.shape[0] // frames
    out = torch.empty_like(query)
    width = channels // heads
    products.cross_attention[(_ceil(rows // frames, 64), heads, frames)](
        query, keys, values, out, rows // frames, count, keys.stride(0), channels, width**-0.5,
        WIDTH=width, BLOCK_T=64, BLOCK_W=max(16, _power_of_two(width)), BLOCK_N=64, **_launch_options(out.device),
    )  # fmt: skip
    return out


def convolve(maps: Maps, weight: Tensor, stride: int = 1) -> Maps:
    """A convolution without its bias, which the kernel that reads the result adds."""
    return Maps.of(F.conv2d(maps.pictures(), weight, None, stride, padding=1))


def convolve_from_few(maps: Maps, weight: Tensor, bias: Tensor) -> Maps:
    """A 3×3 convolution by weight [3, 3 · channels of the maps, channels], + bias, with the sums."""
    few, channels = maps.channels, weight.shape[2]
    out = maps.rows.new_empty(maps.rows.shape[0], channels)
    layout, sums = _sum_layout(maps, channels)
    narrow.convolve_from_few[_grid(maps, channels)](
        maps.rows, weight, bias, out, sums.values, sums.squares, maps.height, maps.width, channels, FEW=few,
        BLOCK_K=_power_of_two(3 * few), **layout, **_launch_options(out.device),
    )  # fmt: skip
    return maps.like(out, sums)


def convolve_to_few(maps: Maps, norm: Affine, unit_frames: int, weight: Tensor, bias: Tensor) -> Maps:
    """Group norm, SiLU and a 3×3 convolution by weight [channels, 9 · fewer channels], + bias."""
    scale, offset = _scales(maps, norm, unit_frames)
    (rows, channels), taps, few = maps.rows.shape, weight.shape[1], len(bias)
    # Nine products are summed: bfloat16 would lose digits.
    dtype = torch.float16 if maps.rows.dtype == torch.float16 else torch.float32
    products = maps.rows.new_empty(rows, taps, dtype=dtype)
    block = min(_BLOCK_ROWS, _power_of_two(maps.frame_rows))
    splits = _ceil(maps.frame_rows, block)
    narrow.multiply_by_taps[(maps.frames * splits,)](
        maps.rows, scale, offset, weight, products, maps.frame_rows, channels, unit_frames, taps, SPLITS=splits,
        BLOCK_R=block, BLOCK_C=_BLOCK_CHANNELS, BLOCK_T=_power_of_two(taps), **_launch_options(products.device),
    )  # fmt: skip
    out, block = maps.rows.new_empty(rows, few), 128
    narrow.sum_taps[(_ceil(rows, block),)](
        products, bias, out, rows, maps.height, maps.width, few, BLOCK_R=block, BLOCK_F=_power_of_two(few),
        **_launch_options(out.device),
    )  # fmt: skip
    return maps.like(out)


def upsample(maps: Maps, phases: Tensor, bias: Tensor) -> Maps:
    """A 3×3 convolution of the maps at twice their size (see upsampling.py for `phases`), with the sums."""
    result = convolve(maps, phases)
    height, width, channels = 2 * maps.height, 2 * maps.width, result.channels // 4
    large = Maps(maps.rows.new_empty(maps.frames * height * width, channels), maps.frames, height, width)
    layout, sums = _sum_layout(large, channels)
    norms.interleave[_grid(large, channels)](
        result.rows, bias, large.rows, sums.values, sums.squares, height, width, channels, **layout,
        **_launch_options(large.rows.device),
    )  # fmt: skip
    return large.like(large.rows, sums)


def _sums_of(maps: Maps, shift: Tensor) -> Sums:
    layout, sums = _sum_layout(maps, maps.rows.shape[1])
    norms.sum_channels[_grid(maps, maps.rows.shape[1])](
        maps.rows, shift, sums.values, sums.squares, maps.frame_rows, maps.rows.shape[1], **layout,
        **_launch_options(shift.device),
    )  # fmt: skip
    return sums


def _sum_layout(maps: Maps, channels: int) -> tuple[dict[str, int], Sums]:
    block, loops, splits = _split(maps.frame_rows)
    sums = maps.rows.new_empty(2, maps.frames * splits, channels, dtype=torch.float32)
    layout = {"SPLITS": splits, "BLOCK_R": block, "BLOCK_C": _BLOCK_CHANNELS, "LOOPS": loops}
    return layout, Sums(sums[0], sums[1], splits)


def _grid(maps: Maps, channels: int) -> tuple[int]:
    return (maps.frames * _split(maps.frame_rows)[2] * _ceil(channels, _BLOCK_CHANNELS),)


def _split(frame_rows: int) -> tuple[int, int, int]:
    """Rows in a block, blocks in a split, splits in a frame."""
    block = min(_BLOCK_ROWS, _power_of_two(frame_rows))
    loops = min(_MOST_SUMMED_ROWS // _BLOCK_ROWS, _ceil(frame_rows, block))
    return block, loops, _ceil(frame_rows, block * loops)


def _ceil(count: int, size: int) -> int:
    return -(-count // size)


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
