"""A checkpoint's networks in this process, where TritonClient stands in the product."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.checkpoint import Checkpoint
from latentsync.condition import face_condition
from latentsync.denoising import PlainPredictor, denoise
from latentsync.vae import pixels_to_uint8

_PICTURES = 8


class LocalModels:
    """Whisper, the UNet and both halves of the VAE on one device, one request at a time."""

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        """Load them in float32; raises CheckpointError."""
        self._device = torch.device(device)
        self._scheduler = checkpoint.scheduler
        self._whisper = checkpoint.load_whisper(device)
        self._guidance_base = checkpoint.guidance_base(device)
        self._unet = PlainPredictor(checkpoint.load_unet(device))
        self._vae = checkpoint.load_vae(device)

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """Features [n // 320, 5, 384] of PCM [n]."""
        return await asyncio.to_thread(self.heard, window)

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        """Faces [k, R, R, 3]."""
        return await asyncio.to_thread(self.drawn, noise, condition, audio, steps, guidance)

    def condition(self, faces: NDArray[np.uint8]) -> NDArray[np.float16]:
        """The UNet's condition [N, 9, h, w] of idle faces [N, R, R, 3]."""
        return face_condition(self._vae, faces)

    async def encoder_batch(self) -> int:
        """The most pictures in one call of `encode`."""
        return _PICTURES

    async def encode(self, pixels: NDArray[np.float16]) -> NDArray[np.float16]:
        """Latents [n, 4, R/8, R/8] of pictures [n, 3, R, R] in [-1, 1]."""
        return await asyncio.to_thread(self._encoded, pixels)

    async def decode(self, latents: NDArray[np.float16]) -> NDArray[np.uint8]:
        """Faces [k, R, R, 3] of latents [k, 4, R/8, R/8]."""
        return await asyncio.to_thread(self._decoded, latents)

    @torch.inference_mode()
    def heard(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """As `features`, in this thread."""
        states: torch.Tensor = self._whisper(torch.from_numpy(window[None]).to(self._device))[0]
        return np.asarray(states.to(torch.float16).cpu().numpy())

    @torch.inference_mode()
    def drawn(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        """As `faces`, in this thread."""
        latents = denoise(
            self._unet,
            self._tensor(noise),
            self._tensor(condition),
            self._tensor(audio),
            steps,
            guidance,
            self._scheduler,
            guidance_base=self._guidance_base,
        )[0]
        return np.asarray(pixels_to_uint8(self._vae.decode(latents)).cpu().numpy())

    @torch.inference_mode()
    def _encoded(self, pixels: NDArray[np.float16]) -> NDArray[np.float16]:
        latents = self._vae.encode(torch.from_numpy(pixels.astype(np.float32)).to(self._device))
        return np.asarray(latents.to(torch.float16).cpu().numpy())

    @torch.inference_mode()
    def _decoded(self, latents: NDArray[np.float16]) -> NDArray[np.uint8]:
        decoded = self._vae.decode(torch.from_numpy(latents.astype(np.float32)).to(self._device))
        return np.asarray(pixels_to_uint8(decoded).cpu().numpy())

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array[None]).to(self._device)
