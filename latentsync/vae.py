"""The VAE between face crops and latents: AutoencoderKL (official) or AutoencoderTiny (demo)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn

# Stable Diffusion's VAE was published with the attention names that diffusers used before version 0.12.
_ATTENTION_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_ATTENTION = re.compile(r"(mid_block\.attentions\.\d+\.)(query|key|value|proj_attn)\.")


class VaeType(StrEnum):
    """Which of diffusers' autoencoders holds the weights."""

    KL = "AutoencoderKL"
    TINY = "AutoencoderTiny"


class Vae(nn.Module):
    """Encodes face crops to scaled latents, eight times smaller, and decodes them."""

    def __init__(self, kind: VaeType, scaling_factor: float, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.kind = kind
        self.scaling_factor = scaling_factor
        self.autoencoder = AutoencoderKL(**config) if kind is VaeType.KL else AutoencoderTiny(**config)

    @classmethod
    def from_state_dict(
        cls, state_dict: Mapping[str, Tensor], kind: VaeType, scaling_factor: float, config: Mapping[str, Any]
    ) -> Vae:
        """Builds a VAE around diffusers' tensors (taken over, not copied), ready to infer.

        Raises RuntimeError, naming the tensors, when they do not fit the configuration.
        """
        with torch.device("meta"):
            vae = cls(kind, scaling_factor, config)
        vae.autoencoder.load_state_dict(_current_names(state_dict), strict=True, assign=True)
        vae.requires_grad_(False)
        return vae.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """The weights' dtype, in which the VAE computes."""
        return next(self.parameters()).dtype

    def encode(self, pixels: Tensor) -> Tensor:
        """Encodes pixels [N, 3, R, R] in [-1, 1] to scaled latents [N, 4, R/8, R/8] float32 (the posterior's mode)."""
        pixels = pixels.to(self.dtype, memory_format=torch.channels_last)
        if self.kind is VaeType.KL:
            latents = self.autoencoder.encode(pixels).latent_dist.mode()
        else:
            latents = self.autoencoder.encoder(pixels)
        scaled: Tensor = latents.float() * self.scaling_factor
        return scaled

    def decode(self, latents: Tensor) -> Tensor:
        """Decodes scaled latents [N, 4, h, w] to pixels [N, 3, 8h, 8w] float32, clamped to [-1, 1]."""
        latents = (latents.float() / self.scaling_factor).to(self.dtype, memory_format=torch.channels_last)
        if self.kind is VaeType.KL:
            pixels = self.autoencoder.decode(latents).sample
        else:
            pixels = self.autoencoder.decoder(latents)
        clamped: Tensor = pixels.float().clamp(-1, 1)
        return clamped


class FaceDecoder(nn.Module):
    """The decoding half of a VAE as a module of its own, which an engine can compile."""

    def __init__(self, vae: Vae) -> None:
        super().__init__()
        self.vae = vae
        self.eval()

    def forward(self, latents: Tensor) -> Tensor:
        """Pixels [N, 3, 8h, 8w] float32 in [-1, 1] of scaled latents [N, 4, h, w]."""
        return self.vae.decode(latents)


def pixels_to_uint8(pixels: Tensor) -> Tensor:
    """Turns pixels [N, 3, H, W] in [-1, 1] into RGB pictures [N, H, W, 3] uint8."""
    return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def uint8_to_pixels(pictures: Tensor) -> Tensor:
    """Turns RGB pictures [N, H, W, 3] uint8 into pixels [N, 3, H, W] float32 in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def _current_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        name = _OLD_ATTENTION.sub(lambda match: f"{match[1]}{_ATTENTION_NAMES[match[2]]}.", key)
        # The oldest files hold these linear layers as 1×1 convolutions.
        is_projection = ".attentions." in name and name.endswith("weight") and value.ndim == 4
        renamed[name] = value.flatten(1) if is_projection else value
    return renamed
