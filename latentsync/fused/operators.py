"""The fused kernels as functions on pictures whose channels lie last."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentsync.fused import kernels, winograd

_BLOCK_ROWS, _BLOCK_CHANNELS = 64, 64
# Small: all numbers of a tile are in registers at once.
_BLOCK_TILES, _TILE_CHANNELS = 4, 64
# Rows that one program sums up: enough programs to fill a GPU, few enough partial sums to read back.
_MOST_SUMMED_ROWS = 128
# Measured: wider ones are faster as the library's product and a kernel after it.
_WIDEST_GATED_PRODUCT = 640


@dataclass(frozen=True)
class Sums:
    """Partial sums of a tensor's channels and of their squares, float32 [frames · splits, channels]."""

    values: Tensor
    squares: Tensor
    splits: int


@dataclass(frozen=True)
class Maps:
    """Feature maps of frames: `rows` [frames · height · width, channels], and their sums where somebody took them.

    `shift` float32 [channels] is what the norm that follows has to add; maps that have one have no sums.
    """

    rows: Tensor
    frames: int
    height: int
    width: int
    sums: Sums | None = None
    shift: Tensor | None = None

    @property
    def channels(self) -> int:
        """Width of a row."""
        return self.rows.shape[1]

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
    nothing: Tensor  # zeros

    @classmethod
    def of(cls, norm: nn.GroupNorm | nn.LayerNorm) -> Affine:
        """The parameters of a norm of torch's."""
        groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else 1
        return cls(norm.weight.float(), norm.bias.float(), norm.eps, groups, torch.zeros_like(norm.bias.float()))


def group_norm(maps: Maps, norm: Affine, unit_frames: int, silu: bool) -> Maps:
    """Group norm of maps and their shift, with the statistics of each `unit_frames` frames together."""
    scale, offset = _scales(maps, norm, unit_frames)
    out = torch.empty_like(maps.rows)
    block = min(_BLOCK_ROWS, _power_of_two(maps.frame_rows))
    splits = _ceil(maps.frame_rows, block)
    kernels.scale_channels[(maps.frames * splits, _ceil(maps.channels, _BLOCK_CHANNELS))](
        maps.rows, scale, offset, out, maps.frame_rows, maps.channels, unit_frames,
        SILU=silu, SPLITS=splits, BLOCK_R=block, BLOCK_C=_BLOCK_CHANNELS,
    )  # fmt: skip
    return maps.like(out)


def _scales(maps: Maps, norm: Affine, unit_frames: int) -> tuple[Tensor, Tensor]:
    """What the norm multiplies and adds: float32 [units, channels] each."""
    shift = norm.nothing if maps.shift is None else maps.shift
    sums = maps.sums or _sums_of(maps, shift)
    channels, group = maps.channels, maps.channels // norm.groups
    units = maps.frames // unit_frames
    scale = maps.rows.new_empty(2, units, channels, dtype=torch.float32)
    splits = unit_frames * sums.splits
    kernels.group_scales[(units, norm.groups)](
        sums.values, sums.squares, shift, norm.weight, norm.bias, scale[0], scale[1], channels, group, splits,
        float(unit_frames * maps.frame_rows * group), norm.epsilon,
        BLOCK_S=min(64, _power_of_two(splits)), BLOCK_G=_power_of_two(group),
    )  # fmt: skip
    return scale[0], scale[1]


def tiles(maps: Maps) -> int:
    """Tiles of winograd.SIDE² pixels in all the pictures; 0 where they don't fill them."""
    side = winograd.SIDE
    return 0 if maps.height % side or maps.width % side else maps.rows.shape[0] // side**2


def convolve_by_tiles(
    maps: Maps, norm: Affine, unit_frames: int, weights: Tensor, bias: Tensor, other: Maps | None
) -> Maps:
    """Group norm, SiLU and a 3×3 convolution of turned weights [36, in, out], + bias (+ other), with the sums."""
    scale, offset = _scales(maps, norm, unit_frames)
    count, (planes, inner, channels) = tiles(maps), weights.shape
    turned = maps.rows.new_empty(planes, count, inner)
    winograd.spread[(_ceil(count, _BLOCK_TILES), _ceil(inner, _TILE_CHANNELS))](
        maps.rows, scale, offset, turned, count, maps.height, maps.width, inner, unit_frames,
        SILU=True, BLOCK_T=_BLOCK_TILES, BLOCK_C=_TILE_CHANNELS,
    )  # fmt: skip
    products = torch.bmm(turned, weights)
    tile_rows = winograd.SIDE**2
    out = maps.rows.new_empty(tile_rows * count, channels)
    frame_tiles = maps.frame_rows // tile_rows
    block = min(_BLOCK_TILES, _power_of_two(frame_tiles))
    loops = min(_MOST_SUMMED_ROWS // (tile_rows * _BLOCK_TILES), _ceil(frame_tiles, block))
    splits = _ceil(frame_tiles, block * loops)
    kept = maps.rows.new_empty(2, maps.frames * splits, channels, dtype=torch.float32)
    winograd.gather[(maps.frames * splits, _ceil(channels, _TILE_CHANNELS))](
        products, products if other is None else other.rows, bias, out, kept[0], kept[1], count, maps.height,
        maps.width, channels, HAS_OTHER=other is not None, SPLITS=splits, BLOCK_T=block, BLOCK_C=_TILE_CHANNELS,
        LOOPS=loops,
    )  # fmt: skip
    return maps.like(out, Sums(kept[0], kept[1], splits))


def add(maps: Maps, bias: Tensor, other: Maps | None = None, sums: bool = True) -> Maps:
    """maps + bias [channels] (+ other), with its sums for the norm that follows."""
    out = torch.empty_like(maps.rows)
    places, kept = _places(maps, maps.channels, sums)
    kernels.add[_grid(maps, maps.channels)](
        maps.rows, maps.rows if other is None else other.rows, bias, out, kept.values, kept.squares, maps.frame_rows,
        maps.channels, HAS_OTHER=other is not None, WITH_SUMS=sums, **places,
    )  # fmt: skip
    return maps.like(out, kept if sums else None)


def concatenate(left: Maps, right: Maps) -> Maps:
    """Both side by side along the channels, with the sums."""
    channels = left.channels + right.channels
    out = left.rows.new_empty(left.rows.shape[0], channels)
    places, kept = _places(left, channels, True)
    kernels.concatenate[_grid(left, channels)](
        left.rows, right.rows, out, kept.values, kept.squares, left.frame_rows, left.channels, right.channels, **places
    )
    return left.like(out, kept)


def layer_norm(x: Tensor, norm: Affine, shift: Tensor) -> Tensor:
    """The layer norm of rows x + shift [channels]."""
    out = torch.empty_like(x)
    rows, channels = x.shape
    width = _power_of_two(channels)
    block = max(1, 2048 // width)
    kernels.layer_norm[(_ceil(rows, block),)](
        x, shift, norm.weight, norm.bias, out, rows, channels, norm.epsilon, BLOCK_R=block, BLOCK_C=width
    )
    return out


def gated_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """a · gelu(b) of x @ weight.T + bias = (a, b): rows [.., channels] of weight [2 · channels, inner]."""
    (rows, inner), channels = x.shape, weight.shape[0] // 2
    out = x.new_empty(rows, channels)
    if inner <= _WIDEST_GATED_PRODUCT and inner % 64 == 0 and channels % 128 == 0:
        block, width = (128, 64) if inner <= 320 else (128, 128)
        kernels.gated_product[(_ceil(rows, block) * (channels // width),)](
            x, weight, bias, out, rows, channels,
            INNER=inner, BLOCK_R=block, BLOCK_C=width, BLOCK_K=64, BAND=8, STAGES=3, num_warps=8,
        )  # fmt: skip
        return out
    block, width = 16, 128
    kernels.gated_gelu[(_ceil(rows, block), _ceil(channels, width))](
        x @ weight.t(), bias, out, rows, channels, BLOCK_R=block, BLOCK_C=width
    )
    return out


def attend_to_few(query: Tensor, keys: Tensor, values: Tensor, frames: int, heads: int) -> Tensor:
    """Attention of rows [frames · tokens, channels] to at most 64 keys of their frame.

    Keys and values [frames · n, channels] may be columns of one wider tensor, with the same stride.
    """
    (rows, channels), count = query.shape, keys.shape[0] // frames
    out = torch.empty_like(query)
    width = channels // heads
    kernels.attend_to_few[(_ceil(rows // frames, 64), heads, frames)](
        query, keys, values, out, rows // frames, count, keys.stride(0), channels, width**-0.5,
        WIDTH=width, BLOCK_T=64, BLOCK_W=max(16, _power_of_two(width)), BLOCK_N=64,
    )  # fmt: skip
    return out


def convolve(maps: Maps, weight: Tensor, stride: int = 1, padding: int = 1) -> Maps:
    """A convolution without its bias, which the kernel that reads the result adds."""
    return Maps.of(F.conv2d(maps.pictures(), weight, None, stride, padding))


def upsample(maps: Maps, phases: Tensor, bias: Tensor, sums: bool) -> Maps:
    """A 3×3 convolution of the maps at twice their size (see upsampling.py for `phases`), with the sums if asked."""
    result = convolve(maps, phases)
    height, width, channels = 2 * maps.height, 2 * maps.width, result.channels // 4
    large = Maps(maps.rows.new_empty(maps.frames * height * width, channels), maps.frames, height, width)
    places, kept = _places(large, channels, sums)
    kernels.interleave[_grid(large, channels)](
        result.rows, bias, large.rows, kept.values, kept.squares, height, width, channels, WITH_SUMS=sums, **places
    )
    return large.like(large.rows, kept if sums else None)


def _sums_of(maps: Maps, shift: Tensor) -> Sums:
    places, sums = _places(maps, maps.channels, True)
    kernels.sum_channels[_grid(maps, maps.channels)](
        maps.rows, shift, sums.values, sums.squares, maps.frame_rows, maps.channels, **places
    )
    return sums


def _places(maps: Maps, channels: int, sums: bool) -> tuple[dict[str, int], Sums]:
    block, loops, splits = _split(maps.frame_rows)
    kept = maps.rows.new_empty(2, maps.frames * splits if sums else 1, channels, dtype=torch.float32)
    places = {"SPLITS": splits, "BLOCK_R": block, "BLOCK_C": _BLOCK_CHANNELS, "LOOPS": loops}
    return places, Sums(kept[0], kept[1], splits)


def _grid(maps: Maps, channels: int) -> tuple[int, int]:
    return maps.frames * _split(maps.frame_rows)[2], _ceil(channels, _BLOCK_CHANNELS)


def _split(frame_rows: int) -> tuple[int, int, int]:
    """Rows of a block, blocks of a split, splits of a frame."""
    block = min(_BLOCK_ROWS, _power_of_two(frame_rows))
    loops = min(_MOST_SUMMED_ROWS // _BLOCK_ROWS, _ceil(frame_rows, block))
    return block, loops, _ceil(frame_rows, block * loops)


def _ceil(count: int, size: int) -> int:
    return -(-count // size)


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
