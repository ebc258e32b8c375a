"""The UNet's condition for an avatar's faces, encoded by Triton."""

from __future__ import annotations

import asyncio
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latentsync.mask import face_mask, latent_mask


class FaceEncoder(Protocol):
    """The served VAE encoder; `TritonClient` is one."""

    async def encode(self, pixels: NDArray[np.float16]) -> NDArray[np.float16]:
        """Latents [n, 4, R/8, R/8] of pictures [n, 3, R, R] in [-1, 1]."""
        ...

    async def encoder_batch(self) -> int:
        """The most pictures in one call."""
        ...


async def face_condition(encoder: FaceEncoder, faces: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Condition float16 [n, 9, R/8, R/8] of face crops RGB uint8 [n, R, R, 3], n ≤ `encoder_batch()`.

    Channels as in `latentsync.condition`: mask, latents of the masked crop, latents of the crop.
    Raises `InferenceError`.
    """
    pixels = (faces.astype(np.float32) / np.float32(127.5) - 1).transpose(0, 3, 1, 2)
    keep = face_mask(faces.shape[1])
    masked, reference = await asyncio.gather(
        encoder.encode((pixels * keep).astype(np.float16)), encoder.encode(pixels.astype(np.float16))
    )
    mask = latent_mask(faces.shape[1], reference.shape[-1]).astype(np.float16)
    repeated = np.broadcast_to(mask, (len(faces), 1, *mask.shape))
    return np.concatenate([repeated, masked, reference], axis=1)
