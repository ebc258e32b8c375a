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


class LocalModels:
    """Whisper, the UNet and the decoder on one device, one request at a time."""

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        """Load them in float32; raises CheckpointError."""
        self._device = torch.device(device)
        self._scheduler = checkpoint.scheduler
        self._whisper = checkpoint.load_whisper(device)
        self._unet = PlainPredictor(checkpoint.load_unet(device))
        self._vae = checkpoint.load_vae(device)

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """Features [n // 320, 5, 384] of PCM [n]."""
        return await asyncio.to_thread(self._features, window)

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        """Faces [k, R, R, 3]."""
        return await asyncio.to_thread(self._faces, noise, condition, audio, steps, guidance)

    def condition(self, faces: NDArray[np.uint8]) -> NDArray[np.float16]:
        """The UNet's condition [N, 9, h, w] of idle faces [N, R, R, 3]."""
        return face_condition(self._vae, faces)

    @torch.inference_mode()
    def _features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        states: torch.Tensor = self._whisper(torch.from_numpy(window[None]).to(self._device))[0]
        return np.asarray(states.to(torch.float16).cpu().numpy())

    @torch.inference_mode()
    def _faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        latents = denoise(
            self._unet,
            self._tensor(noise),
            self._tensor(condition),
            self._tensor(audio),
            steps,
            guidance,
            self._scheduler,
        )[0]
        return np.asarray(pixels_to_uint8(self._vae.decode(latents)).cpu().numpy())

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array[None]).to(self._device)
