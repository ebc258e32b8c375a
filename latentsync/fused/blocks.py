"""The blocks of Stable Diffusion's networks on fused kernels, around the weights of diffusers' modules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from latentsync.fused.convolutions import (
    convolve,
    convolve_from_few,
    convolve_to_few,
    count_tiles,
    upsample,
    winograd_convolve,
    winograd_upsample,
)
from latentsync.fused.maps import Affine, Maps
from latentsync.fused.operators import add, cross_attention, gated_gelu, group_norm, layer_norm, project
from latentsync.fused.winograd import transform_filter, transform_upsampling_filter
from latentsync.upsampling import phase_weights

# cuDNN's attention is up to 1.8 times as fast as FlashAttention for narrow heads and long sequences.
_WIDEST_CUDNN_HEAD, _SHORTEST_CUDNN = 80, 256
# Winograd's algorithm saves products for memory traffic and larger filters: it pays for wide layers of many tiles.
LEAST_WINOGRAD_CHANNELS, LEAST_TILES = 320, {4: 192, 2: 128}
LEAST_WINOGRAD_UPSAMPLING_CHANNELS = 640


class NormedConvolution:
    """A group norm, SiLU and a 3×3 convolution, whose bias is the caller's.

    Done by Winograd's algorithm where it pays (see winograd.py); its rounding error is two thirds of bfloat16's.
    """

    def __init__(self, norm: nn.GroupNorm, convolution: nn.Conv2d) -> None:
        self._norm = Affine.of(norm)
        self._weight = channels_last(convolution.weight)
        self._uses_winograd = _suits_winograd(self._weight, LEAST_WINOGRAD_CHANNELS)
        # By the tiles' side, computed when first needed: 1.8 and 4 times as large as the weight.
        self._filters: dict[int, Tensor] = {}

    @property
    def in_channels(self) -> int:
        """Channels of its input."""
        return self._weight.shape[1]

    def __call__(self, maps: Maps, unit_frames: int, bias: Tensor, other: Maps | None = None) -> Maps:
        """Maps with their sums; without `other` they may have the bias as their shift instead."""
        if side := self._tile_side(maps):
            if side not in self._filters:
                self._filters[side] = transform_filter(self._weight, side)
            return winograd_convolve(maps, self._norm, unit_frames, self._filters[side], side, bias, other)
        result = convolve(group_norm(maps, self._norm, unit_frames, silu=True), self._weight)
        return replace(result, shift=bias) if other is None else add(result, bias, other)

    def _tile_side(self, maps: Maps) -> int:
        """Side of the tiles to use here, or 0 for a direct convolution."""
        return next(
            (side for side in LEAST_TILES if self._uses_winograd and count_tiles(maps, side) >= LEAST_TILES[side]), 0
        )


class Resnet:
    """A ResNet block; its group norms take statistics over `unit_frames` frames together."""

    def __init__(self, block: Any) -> None:
        self._first = NormedConvolution(block.norm1, block.conv1)
        self._second = NormedConvolution(block.norm2, block.conv2)
        self.first_bias: Tensor = block.conv1.bias.float()
        self._bias: Tensor = block.conv2.bias.float()
        self._shortcut: Tensor | None = None
        if block.conv_shortcut is not None:
            self._shortcut = block.conv_shortcut.weight.flatten(1).t()
            self._bias = self._bias + block.conv_shortcut.bias.float()

    @property
    def in_channels(self) -> int:
        """Channels of its input."""
        return self._first.in_channels

    def __call__(self, maps: Maps, shift: Tensor, unit_frames: int) -> Maps:
        """Maps with their sums; `shift` float32 [channels] is the first convolution's bias + the time embedding."""
        inner = self._first(maps, unit_frames, shift)
        shortcut = maps if self._shortcut is None else maps.like(project(maps, self._shortcut))
        return self._second(inner, unit_frames, self._bias, shortcut)


@dataclass(frozen=True)
class Heads:
    """The heads of an attention."""

    count: int
    width: int

    def split(self, rows: Tensor, frames: int) -> Tensor:
        """[frames, heads, tokens, width] of rows [frames · tokens, heads · width]."""
        return rows.view(frames, -1, self.count, self.width).transpose(1, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, frames: int) -> Tensor:
        """Attention of each frame's query rows to its key rows: rows [frames · tokens, heads · width]."""
        split = self.split(query, frames)
        with _attention(split):
            result = F.scaled_dot_product_attention(split, self.split(key, frames), self.split(value, frames))
        return result.transpose(1, 2).reshape(-1, self.count * self.width)


@contextlib.contextmanager
def _attention(query: Tensor) -> Iterator[None]:
    tokens, width = query.shape[-2:]
    if not query.is_cuda or width % 8:
        yield
        return
    if width > 256:
        backend = SDPBackend.EFFICIENT_ATTENTION
    elif width <= _WIDEST_CUDNN_HEAD and tokens >= _SHORTEST_CUDNN:
        backend = SDPBackend.CUDNN_ATTENTION
    else:
        backend = SDPBackend.FLASH_ATTENTION
    with sdpa_kernel(backend):
        yield


class Transformer:
    """A transformer of one block: attention within a frame, to the frame's audio, and a gated feed-forward."""

    def __init__(self, module: Any) -> None:
        block = module.transformer_blocks[0]
        self._norm = Affine.of(module.norm)
        self._in = module.proj_in.weight.flatten(1).t()
        self._norm1, self._norm2, self._norm3 = (Affine.of(norm) for norm in (block.norm1, block.norm2, block.norm3))
        own, audio, feed = block.attn1, block.attn2, block.ff.net
        width = own.to_q.weight.shape[0]
        self._heads = Heads(own.heads, width // own.heads)
        self._qkv = torch.cat([own.to_q.weight, own.to_k.weight, own.to_v.weight]).t()
        self._own_out = own.to_out[0].weight.t()
        self._query = audio.to_q.weight.t()
        self.keys_values_weight = torch.cat([audio.to_k.weight, audio.to_v.weight])  # [2 · channels, 384]
        self._audio_out = audio.to_out[0].weight.t()
        self._gate, self._gate_bias = feed[0].proj.weight, feed[0].proj.bias.float()
        out = module.proj_out
        # The feed-forward's last product, the residual sum and the output projection are one product of [x, gated].
        projection = out.weight.flatten(1)
        fed = (projection.float() @ feed[2].weight.float()).to(projection.dtype)
        self._out = torch.cat([projection, fed], dim=1).t()
        # The residual stream carries no biases: each norm adds the sum of those before it.
        self._bias1 = module.proj_in.bias.float()
        self._bias2 = self._bias1 + own.to_out[0].bias.float()
        self._bias3 = self._bias2 + audio.to_out[0].bias.float()
        residual_bias = self._bias3 + feed[2].bias.float()
        self._out_bias = out.bias.float() + projection.float() @ residual_bias

    def __call__(self, maps: Maps, keys_values: Tensor) -> Maps:
        """Maps with their sums; `keys_values` [frames · 50, 2 · channels] are this block's, of the audio."""
        channels, frames = maps.channels, maps.frames
        wide = maps.rows.new_empty(maps.rows.shape[0], self._out.shape[0])
        x, gated = wide[:, :channels], wide[:, channels:]
        torch.mm(group_norm(maps, self._norm, 1, silu=False).rows, self._in, out=x)
        query, key, value = torch.split(layer_norm(x, self._norm1, self._bias1) @ self._qkv, channels, dim=1)
        x.addmm_(self._heads.attend(query, key, value, frames), self._own_out)
        query = layer_norm(x, self._norm2, self._bias2) @ self._query
        key, value = torch.split(keys_values, channels, dim=1)
        x.addmm_(cross_attention(query, key, value, frames, self._heads.count), self._audio_out)
        gated_gelu(layer_norm(x, self._norm3, self._bias3), self._gate, self._gate_bias, out=gated)
        return add(maps.like(wide @ self._out), self._out_bias, maps)


class Upsample:
    """Twice the size by the nearest neighbour, and a 3×3 convolution."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        assert convolution.bias is not None
        weight, self._bias = convolution.weight, convolution.bias.float()
        self._uses_winograd = _suits_winograd(weight, LEAST_WINOGRAD_UPSAMPLING_CHANNELS)
        self._weights = (
            transform_upsampling_filter(weight) if self._uses_winograd else channels_last(phase_weights(weight))
        )

    def __call__(self, maps: Maps) -> Maps:
        """Maps of twice the height and width, with their sums."""
        return (winograd_upsample if self._uses_winograd else upsample)(maps, self._weights, self._bias)


class Downsample:
    """Half the size by a 3×3 convolution."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        assert convolution.bias is not None
        self._weight, self._bias = channels_last(convolution.weight), convolution.bias.float()

    def __call__(self, maps: Maps) -> Maps:
        """Maps of half the height and width, with their sums."""
        return add(convolve(maps, self._weight, stride=2), self._bias)


class FirstConvolution:
    """A network's first 3×3 convolution, whose input channels are few."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        assert convolution.bias is not None
        self.out_channels, channels = convolution.weight.shape[:2]
        self.in_channels = -(-channels // 16) * 16  # tensor cores multiply 16 at once
        weight = F.pad(convolution.weight, (0, 0, 0, 0, 0, self.in_channels - channels))
        self._weight = weight.permute(2, 3, 1, 0).flatten(1, 2).contiguous()
        self._bias = convolution.bias.float()

    def __call__(self, maps: Maps) -> Maps:
        """Maps with their sums, of maps of `in_channels`."""
        return convolve_from_few(maps, self._weight, self._bias)


class LastConvolution:
    """A group norm, SiLU and a network's last 3×3 convolution, whose output channels are few."""

    def __init__(self, norm: nn.GroupNorm, convolution: nn.Conv2d) -> None:
        assert convolution.bias is not None
        self._norm = Affine.of(norm)
        self._weight = convolution.weight.permute(1, 2, 3, 0).flatten(1).contiguous()
        self._bias = convolution.bias.float()

    def __call__(self, maps: Maps, unit_frames: int) -> Tensor:
        """Pictures, channels last."""
        return convolve_to_few(maps, self._norm, unit_frames, self._weight, self._bias).pictures()


def _suits_winograd(weight: Tensor, narrowest: int) -> bool:
    # bfloat16 has too few digits for Winograd's transforms.
    return min(weight.shape[:2]) >= narrowest and weight.dtype != torch.bfloat16


def channels_last(weight: Tensor) -> Tensor:
    """A convolution's weights in the memory order that channels-last pictures need."""
    return weight.contiguous(memory_format=torch.channels_last)
