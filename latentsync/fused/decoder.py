"""AutoencoderKL's decoder on fused kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from latentsync.fused.blocks import FirstConvolution, Heads, LastConvolution, Resnet, Upsample
from latentsync.fused.maps import Affine, Maps
from latentsync.fused.operators import add, group_norm
from latentsync.vae import Vae


class FusedDecoder:
    """Latents to pixels; every norm takes its statistics per frame."""

    def __init__(self, vae: Vae) -> None:
        decoder: Any = vae.autoencoder.decoder
        self._scale = vae.scaling_factor
        self.dtype = vae.dtype
        self._first = FirstConvolution(decoder.conv_in)
        post_quant: Any = vae.autoencoder.post_quant_conv
        padding = self._first.in_channels - len(post_quant.bias)
        self._post_quant = F.pad(post_quant.weight.flatten(1), (0, 0, 0, padding)), F.pad(post_quant.bias, (0, padding))
        middle = decoder.mid_block
        first, second = (Resnet(block) for block in middle.resnets)
        self._middle = (first, _Attention(middle.attentions[0]), second)
        self._stages = [
            ([Resnet(block) for block in stage.resnets], _upsample(stage.upsamplers)) for stage in decoder.up_blocks
        ]
        self._last = LastConvolution(decoder.conv_norm_out, decoder.conv_out)

    def forward(self, latents: Tensor) -> Tensor:
        """Pixels [N, 3, 8h, 8w] float32 in [-1, 1], channels last, of scaled latents [N, 4, h, w]."""
        latents = (latents.float() / self._scale).to(self.dtype)
        rows = F.linear(latents.permute(0, 2, 3, 1), *self._post_quant)
        hidden = self._first(Maps.of(rows.permute(0, 3, 1, 2)))
        first, attention, second = self._middle
        hidden = second(attention(first(hidden, first.first_bias, 1)), second.first_bias, 1)
        for resnets, upsample in self._stages:
            for resnet in resnets:
                hidden = resnet(hidden, resnet.first_bias, 1)
            if upsample is not None:
                hidden = upsample(hidden)
        return self._last(hidden, 1).float().clamp(-1, 1)


def _upsample(modules: Any) -> Upsample | None:
    return Upsample(modules[0].conv) if modules else None


class _Attention:
    """Self-attention of a frame's pixels, with a single head."""

    def __init__(self, module: Any) -> None:
        self._norm = Affine.of(module.group_norm)
        width = module.to_q.weight.shape[0]
        self._heads = Heads(1, width)
        self._qkv = torch.cat([module.to_q.weight, module.to_k.weight, module.to_v.weight]).t()
        self._qkv_bias = torch.cat([module.to_q.bias, module.to_k.bias, module.to_v.bias])
        self._out, self._bias = module.to_out[0].weight.t(), module.to_out[0].bias.float()

    def __call__(self, maps: Maps) -> Maps:
        normed = group_norm(maps, self._norm, 1, silu=False).rows
        query, key, value = torch.split(torch.addmm(self._qkv_bias, normed, self._qkv), maps.channels, dim=1)
        attended = self._heads.attend(query, key, value, maps.frames)
        return add(maps.like(attended @ self._out), self._bias, maps)
