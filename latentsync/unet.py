"""LatentSync's UNet: Stable Diffusion 1.5's blocks on the frames of a chunk, with audio as cross-attention.

Version 1.0 knows frames of a chunk by its group norms alone; 1.5 and 1.6 have motion modules between the layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional as F

from latentsync.contract import CONTRACT
from latentsync.motion import MotionLayers, MotionModule
from latentsync.unet_weights import (
    UnsupportedUNetError,
    diffusers_state_dict,
    original_state_dict,
    require_latentsync,
)

__all__ = ["LatentSyncUNet", "MotionLayers", "UNetConfig", "UnsupportedUNetError", "upstream_state_dict"]


@dataclass(frozen=True)
class UNetConfig:
    """Size of a UNet; the defaults are LatentSync 1.0's, in the terms of diffusers' UNet2DConditionModel."""

    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    attention_head_dim: int = 8
    norm_num_groups: int = 32
    cross_attention_dim: int = CONTRACT.hidden_size
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    up_block_types: tuple[str, ...] = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    motion_modules: MotionLayers = MotionLayers.NONE


class ChunkResnetBlock(nn.Module):
    """diffusers' ResNet block, its group norms taken over all frames of a chunk together.

    The number of frames is the ratio of the batch (chunks × frames) to the time embedding's (chunks), so the block
    keeps no state between calls. Takes over the submodules, and so the state-dict keys, of the block it replaces.
    """

    def __init__(self, block: ResnetBlock2D) -> None:
        super().__init__()
        if block.upsample is not None or block.downsample is not None or block.time_embedding_norm != "default":
            raise ValueError("only plain ResNet blocks with an added time embedding can be made chunk-wise")
        self.norm1 = block.norm1
        self.conv1 = block.conv1
        self.time_emb_proj = block.time_emb_proj
        self.norm2 = block.norm2
        self.conv2 = block.conv2
        self.conv_shortcut = block.conv_shortcut

    def forward(self, hidden: Tensor, time_embedding: Tensor) -> Tensor:
        """Maps [B·F, C, h, w] and [B, E] to [B·F, C', h, w]."""
        frames = hidden.shape[0] // time_embedding.shape[0]
        residual = self.conv1(F.silu(chunk_group_norm(self.norm1, hidden, frames)))
        shift = self.time_emb_proj(F.silu(time_embedding)).repeat_interleave(frames, dim=0)
        residual = residual + shift[:, :, None, None]
        residual = self.conv2(F.silu(chunk_group_norm(self.norm2, residual, frames)))
        shortcut = hidden if self.conv_shortcut is None else self.conv_shortcut(hidden)
        output: Tensor = shortcut + residual
        return output


def chunk_group_norm(norm: nn.GroupNorm, hidden: Tensor, frames: int) -> Tensor:
    """Group norm of [B·F, C, h, w] with the statistics of [B, C, F, h, w]."""
    count, channels, height, width = hidden.shape
    chunks = hidden.reshape(count // frames, frames, channels, height * width).transpose(1, 2)
    normed = F.group_norm(chunks, norm.num_groups, norm.weight, norm.bias, norm.eps)
    return normed.transpose(1, 2).reshape(count, channels, height, width)


class LatentSyncUNet(nn.Module):
    """Predicts noise (or clean latents) for chunks of frames from noisy latents, condition and audio features."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = UNet2DConditionModel(
            in_channels=CONTRACT.sample_channels,
            out_channels=CONTRACT.latent_channels,
            block_out_channels=config.block_out_channels,
            layers_per_block=config.layers_per_block,
            attention_head_dim=config.attention_head_dim,
            norm_num_groups=config.norm_num_groups,
            cross_attention_dim=config.cross_attention_dim,
            down_block_types=config.down_block_types,
            up_block_types=config.up_block_types,
        )
        for stage in (*self.blocks.down_blocks, self.blocks.mid_block, *self.blocks.up_blocks):
            stage.resnets = nn.ModuleList(ChunkResnetBlock(block) for block in stage.resnets)
        moving = {MotionLayers.NONE: [], MotionLayers.UP: [self.blocks.up_blocks]}.get(
            config.motion_modules, [self.blocks.down_blocks, self.blocks.up_blocks]
        )
        for stage in (stage for stages in moving for stage in stages):
            widths = (block.conv2.out_channels for block in stage.resnets)
            stage.motion_modules = nn.ModuleList(MotionModule(channels) for channels in widths)

    @classmethod
    def from_upstream(
        cls,
        state_dict: Mapping[str, Tensor],
        *,
        block_out_channels: Sequence[int] = UNetConfig.block_out_channels,
        layers_per_block: int = UNetConfig.layers_per_block,
        attention_head_dim: int = UNetConfig.attention_head_dim,
        norm_num_groups: int = UNetConfig.norm_num_groups,
        cross_attention_dim: int = UNetConfig.cross_attention_dim,
        down_block_types: Sequence[str] = UNetConfig.down_block_types,
        up_block_types: Sequence[str] = UNetConfig.up_block_types,
        motion_modules: str | None = None,
    ) -> LatentSyncUNet:
        """Builds the UNet around LatentSync's own tensors, in their dtype and on their device, ready to infer.

        Which version they are of is told by their keys; `motion_modules` (none, up, all) is what must be found, if
        given. The tensors are taken over, not copied. Raises UnsupportedUNetError for another version, and for missing,
        unexpected or wrongly sized tensors, naming them; ValueError for an unknown `motion_modules`.
        """
        found = require_latentsync(state_dict, None if motion_modules is None else MotionLayers(motion_modules))
        config = UNetConfig(
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            attention_head_dim=attention_head_dim,
            norm_num_groups=norm_num_groups,
            cross_attention_dim=cross_attention_dim,
            down_block_types=tuple(down_block_types),
            up_block_types=tuple(up_block_types),
            motion_modules=found,
        )
        with torch.device("meta"):
            unet = cls(config)
        try:
            unet.blocks.load_state_dict(diffusers_state_dict(state_dict), strict=True, assign=True)
        except RuntimeError as error:
            raise UnsupportedUNetError(f"the UNet's weights do not fit its configuration: {error}") from error
        unet.requires_grad_(False)
        return unet.eval()

    @property
    def dtype(self) -> torch.dtype:
        """The weights' dtype, in which the UNet computes."""
        weight: Tensor = self.blocks.conv_in.weight
        return weight.dtype

    def forward(self, sample: Tensor, timestep: int | Tensor, audio: Tensor) -> Tensor:
        """Runs one denoising step on chunks of F frames.

        Takes sample [B, 13, F, h, w], timestep (one for all or [B]) and audio [B, F, 50, 384]; returns [B, 4, F, h, w]
        in the sample's dtype. All frames of a chunk share the group norms' statistics.
        """
        return self.predict(sample, timestep, audio)[0]

    def predict(
        self, sample: Tensor, timestep: int | Tensor, audio: Tensor, deep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`forward`'s result, and the deep features [B·F, C, h, w]: the input of the last layer.

        With those of another timestep as `deep`, only the first convolution and the last layer run.
        """
        chunks, _, frames, height, width = sample.shape
        net = self.blocks
        times = torch.as_tensor(timestep, device=sample.device).expand(chunks)
        time_embedding = net.time_embedding(net.time_proj(times).to(self.dtype))
        context = audio.flatten(0, 1).to(self.dtype)
        hidden = net.conv_in(sample.transpose(1, 2).flatten(0, 1).to(self.dtype))
        if deep is None:
            deep = self._deep(hidden, time_embedding, context)
        hidden = _up_layer(net.up_blocks[-1], -1, deep, hidden, time_embedding, context)
        hidden = net.conv_out(F.silu(chunk_group_norm(net.conv_norm_out, hidden, frames)))
        output: Tensor = hidden.reshape(chunks, frames, CONTRACT.latent_channels, height, width).transpose(1, 2)
        return output.to(sample.dtype), deep

    def _deep(self, hidden: Tensor, time_embedding: Tensor, context: Tensor) -> Tensor:
        """All layers between the first convolution and the last layer."""
        net = self.blocks
        skips = [hidden]
        for block in net.down_blocks:
            for index in range(len(block.resnets)):
                hidden = _layer(block, index, hidden, time_embedding, context)
                skips.append(hidden)
            for downsample in block.downsamplers or ():
                hidden = downsample(hidden)
                skips.append(hidden)
        hidden = net.mid_block(hidden, time_embedding, context)
        for block in net.up_blocks[:-1]:
            for index in range(len(block.resnets)):
                hidden = _up_layer(block, index, hidden, skips.pop(), time_embedding, context)
            for upsample in block.upsamplers or ():
                # Downsampling rounds odd sizes up; the next level's skip connection has the true size.
                hidden = upsample(hidden, skips[-1].shape[-2:])
        for index, skip in enumerate(reversed(skips[1:])):
            hidden = _up_layer(net.up_blocks[-1], index, hidden, skip, time_embedding, context)
        return hidden


def _up_layer(
    block: nn.Module, index: int, hidden: Tensor, skip: Tensor, time_embedding: Tensor, context: Tensor
) -> Tensor:
    """A layer of an up block on the hidden state and a skip connection."""
    return _layer(block, index, torch.cat([hidden, skip], dim=1), time_embedding, context)


def _layer(block: nn.Module, index: int, hidden: Tensor, time_embedding: Tensor, context: Tensor) -> Tensor:
    """One ResNet block, then its transformer and its motion module where the block has them."""
    modules: Any = block
    hidden = modules.resnets[index](hidden, time_embedding)
    if getattr(block, "has_cross_attention", False):
        hidden = modules.attentions[index](hidden, encoder_hidden_states=context, return_dict=False)[0]
    if hasattr(block, "motion_modules"):
        hidden = modules.motion_modules[index](hidden, len(hidden) // len(time_embedding))
    return hidden


def upstream_state_dict(unet: LatentSyncUNet) -> dict[str, Tensor]:
    """The UNet's tensors under the names of its LatentSync version, as checkpoints keep them."""
    return original_state_dict(unet.blocks.state_dict())
