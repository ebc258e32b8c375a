"""LatentSync 1.5's motion modules on fused kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentsync.fused.maps import Affine, Maps
from latentsync.fused.operators import add, attend_over_frames, gated_gelu, group_norm, layer_norm
from latentsync.motion import HEADS


class Motion:
    """A motion module: a temporal transformer of one block, and the residual.

    Its rows stay in their order, pixels within frames: only the attention reads across frames.
    """

    def __init__(self, module: Any) -> None:
        transformer = module.temporal_transformer
        block = transformer.transformer_blocks[0]
        feed, out = block.ff.net, transformer.proj_out
        self._norm = Affine.of(transformer.norm)
        self._in = transformer.proj_in.weight.t()
        self._attentions = [_Attention(*pair) for pair in zip(block.norms, block.attention_blocks, strict=True)]
        self._last_norm = Affine.of(block.ff_norm)
        self._gate, self._gate_bias = feed[0].proj.weight, feed[0].proj.bias.float()
        # As in blocks.Transformer: one product for feed-forward, residual and way out, and no biases on the way.
        fed = (out.weight.float() @ feed[2].weight.float()).to(out.weight.dtype)
        self._out = torch.cat([out.weight, fed], dim=1).t()
        self._biases = [transformer.proj_in.bias.float()]
        for attention in block.attention_blocks:
            self._biases.append(self._biases[-1] + attention.to_out[0].bias.float())
        self._out_bias = out.bias.float() + out.weight.float() @ (self._biases[-1] + feed[2].bias.float())

    def __call__(self, maps: Maps, unit_frames: int) -> Maps:
        """Maps with their sums; each `unit_frames` frames are a chunk."""
        channels = maps.channels
        wide = maps.rows.new_empty(maps.rows.shape[0], self._out.shape[0])
        x, gated = wide[:, :channels], wide[:, channels:]
        torch.mm(group_norm(maps, self._norm, 1, silu=False).rows, self._in, out=x)
        for attention, bias in zip(self._attentions, self._biases, strict=False):
            attention(x, bias, maps.frame_rows, unit_frames)
        gated_gelu(layer_norm(x, self._last_norm, self._biases[-1]), self._gate, self._gate_bias, out=gated)
        return add(maps.like(wide @ self._out), self._out_bias, maps)


class _Attention:
    """Layer norm, places, attention over the frames, and the residual without its bias."""

    def __init__(self, norm: Any, attention: Any) -> None:
        self._norm = Affine.of(norm)
        # What the norm adds for each place in a chunk: float32 [24, channels].
        self._places: Tensor = self._norm.bias + attention.pos_encoder.pe[0].float()
        self._qkv = torch.cat([attention.to_q.weight, attention.to_k.weight, attention.to_v.weight]).t()
        self._out = attention.to_out[0].weight.t()

    def __call__(self, x: Tensor, shift: Tensor, frame_rows: int, unit_frames: int) -> None:
        """Adds to rows x [frames · frame_rows, channels], which lack `shift`."""
        normed = layer_norm(x, self._norm, shift, places=self._places, frame_rows=frame_rows, frames=unit_frames)
        x.addmm_(attend_over_frames(normed @ self._qkv, HEADS, frame_rows, unit_frames), self._out)
