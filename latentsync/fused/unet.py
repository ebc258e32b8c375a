"""LatentSync's UNet on fused kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from latentsync.fused.blocks import Downsample, FirstConvolution, LastConvolution, Resnet, Transformer, Upsample
from latentsync.fused.maps import Maps
from latentsync.fused.motion import Motion
from latentsync.unet import LatentSyncUNet


class FusedUNet:
    """The UNet's graph and weights, rearranged; the module that it is built from can be freed."""

    def __init__(self, unet: LatentSyncUNet) -> None:
        net = unet.blocks
        self.dtype = unet.dtype
        self.device = net.conv_in.weight.device
        self._time: Any = (net.time_proj, net.time_embedding)
        self._first = FirstConvolution(net.conv_in)
        self._down = [_Stage(block) for block in net.down_blocks]
        self._middle = _Stage(net.mid_block)
        self._up = [_Stage(block) for block in net.up_blocks]
        self._last = LastConvolution(net.conv_norm_out, net.conv_out)
        stages = (*self._down, self._middle, *self._up)
        resnets = [resnet for stage in stages for resnet in stage.resnets]
        self._time_weight = torch.cat([module.time_emb_proj.weight for module in _modules(net)])
        self._time_bias = torch.cat([module.time_emb_proj.bias for module in _modules(net)]).float()
        self._time_bias += torch.cat([resnet.first_bias for resnet in resnets])
        transformers = [transformer for stage in stages for transformer in stage.transformers]
        self._keys_values_weight = torch.cat([transformer.keys_values_weight for transformer in transformers]).t()
        self.levels = len(self._down)

    @property
    def input_channels(self) -> int:
        """Channels of `forward`'s sample: 13, rounded up to a multiple of 16."""
        return self._first.in_channels

    def shifts(self, timestep: int) -> Tensor:
        """What all ResNet blocks add at a timestep: float32 [sum of their channels]."""
        project, embed = self._time
        times = torch.tensor([timestep], device=self.device)
        embedding = F.silu(embed(project(times).to(self.dtype)))
        return F.linear(embedding, self._time_weight)[0].float() + self._time_bias

    def keys_and_values(self, audio: Tensor) -> Tensor:
        """All keys and values of the audio [frames, 50, 384]: [frames · 50, 2 · sum of the attentions' channels]."""
        return audio.flatten(0, 1).to(self.dtype) @ self._keys_values_weight

    def deep_rows(self, frames: int, height: int, width: int) -> Tensor:
        """Memory for the deep features that `forward` stores."""
        channels = self._up[-1].input_channels - self._first.out_channels
        return torch.empty(frames * height * width, channels, device=self.device, dtype=self.dtype)

    def forward(
        self, sample: Tensor, shifts: Tensor, keys_and_values: Tensor, unit_frames: int, deep: Tensor | None = None
    ) -> Tensor:
        """Predicts [frames, 4, h, w], channels last, in the weights' dtype.

        Takes sample [frames, input_channels, h, w], channels last (LatentSync's 13 channels, then zeros), and what
        `shifts` and `keys_and_values` return. Height and width must be multiples of 2^(levels - 1). Stores the deep
        features in `deep`, if it is given, which `deep_rows` allocates.
        """
        shift, keys_values = _Slices(shifts, 0), _Slices(keys_and_values, 1)
        hidden = self._first(Maps.of(sample))
        skips = [hidden]
        for stage in self._down:
            hidden = stage.down(hidden, skips, shift, keys_values, unit_frames)
        hidden = self._middle.middle(hidden, shift, keys_values, unit_frames)
        for stage in self._up[:-1]:
            hidden = stage.up(hidden, skips, shift, keys_values, unit_frames)
        last = self._up[-1]
        for index in range(len(last.resnets) - 1):
            hidden = last.layer(index, replace(hidden, skip=skips.pop()), shift, keys_values, unit_frames)
        if deep is not None:
            deep.copy_(hidden.rows)
        return self._finish(hidden, skips.pop(), shift, keys_values, unit_frames)

    def shallow(
        self, sample: Tensor, shifts: Tensor, keys_and_values: Tensor, unit_frames: int, deep: Tensor
    ) -> Tensor:
        """`forward` without its deep layers, on the deep features of another timestep."""
        hidden = self._first(Maps.of(sample))
        shift, keys_values = _Slices(shifts, 0), _Slices(keys_and_values, 1)
        shift.skip_to_last(self._up[-1].last_shift)
        keys_values.skip_to_last(self._up[-1].last_keys_values)
        return self._finish(hidden.like(deep), hidden, shift, keys_values, unit_frames)

    def _finish(self, hidden: Maps, skip: Maps, shift: _Slices, keys_values: _Slices, unit_frames: int) -> Tensor:
        hidden = self._up[-1].layer(-1, replace(hidden, skip=skip), shift, keys_values, unit_frames)
        return self._last(hidden, unit_frames)


class _Slices:
    """Slices, block by block, of a tensor that was computed for all blocks at once."""

    def __init__(self, tensor: Tensor, axis: int) -> None:
        self._tensor, self._axis, self._used = tensor, axis, 0

    def skip_to_last(self, width: int) -> None:
        """Skips to the last `width`."""
        self._used = self._tensor.shape[self._axis] - width

    def take(self, width: int) -> Tensor:
        self._used += width
        return self._tensor.narrow(self._axis, self._used - width, width)


class _Stage:
    """One level of the UNet."""

    def __init__(self, block: Any) -> None:
        self.resnets = [Resnet(module) for module in block.resnets]
        self.transformers = [Transformer(module) for module in getattr(block, "attentions", ())]
        self._motions = [Motion(module) for module in getattr(block, "motion_modules", ())]
        upsamplers, downsamplers = getattr(block, "upsamplers", None), getattr(block, "downsamplers", None)
        self._upsample = Upsample(upsamplers[0].conv) if upsamplers else None
        self._downsample = Downsample(downsamplers[0].conv) if downsamplers else None

    @property
    def input_channels(self) -> int:
        """Input channels of the last layer."""
        return self.resnets[-1].in_channels

    @property
    def last_shift(self) -> int:
        """Width of the last layer's slice of the shifts."""
        return len(self.resnets[-1].first_bias)

    @property
    def last_keys_values(self) -> int:
        """Width of the last layer's slice of the keys and values."""
        return len(self.transformers[-1].keys_values_weight) if self.transformers else 0

    def down(self, hidden: Maps, skips: list[Maps], shift: _Slices, keys_values: _Slices, unit_frames: int) -> Maps:
        for index in range(len(self.resnets)):
            hidden = self.layer(index, hidden, shift, keys_values, unit_frames)
            skips.append(hidden)
        if self._downsample is not None:
            hidden = self._downsample(hidden)
            skips.append(hidden)
        return hidden

    def middle(self, hidden: Maps, shift: _Slices, keys_values: _Slices, unit_frames: int) -> Maps:
        hidden = self._resnet(0, hidden, shift, unit_frames)
        for index, transformer in enumerate(self.transformers):
            hidden = transformer(hidden, keys_values.take(len(transformer.keys_values_weight)))
            hidden = self._resnet(index + 1, hidden, shift, unit_frames)
        return hidden

    def up(self, hidden: Maps, skips: list[Maps], shift: _Slices, keys_values: _Slices, unit_frames: int) -> Maps:
        for index in range(len(self.resnets)):
            hidden = self.layer(index, replace(hidden, skip=skips.pop()), shift, keys_values, unit_frames)
        return hidden if self._upsample is None else self._upsample(hidden)

    def layer(self, index: int, hidden: Maps, shift: _Slices, keys_values: _Slices, unit_frames: int) -> Maps:
        """A ResNet block, then its transformer and its motion module where the level has them."""
        hidden = self._resnet(index, hidden, shift, unit_frames)
        if self.transformers:
            transformer = self.transformers[index]
            hidden = transformer(hidden, keys_values.take(len(transformer.keys_values_weight)))
        return self._motions[index](hidden, unit_frames) if self._motions else hidden

    def _resnet(self, index: int, hidden: Maps, shift: _Slices, unit_frames: int) -> Maps:
        resnet = self.resnets[index]
        return resnet(hidden, shift.take(len(resnet.first_bias)), unit_frames)


def _modules(net: Any) -> list[Any]:
    """The ResNet blocks in the order in which they run."""
    return [resnet for stage in (*net.down_blocks, net.mid_block, *net.up_blocks) for resnet in stage.resnets]
