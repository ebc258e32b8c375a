"""The served models with the networks of one of their checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceError

if TYPE_CHECKING:
    from inference.client import TritonClient


@dataclass(frozen=True)
class DrawingModels:
    """A client's calls with the networks of one checkpoint; they are described there."""

    client: TritonClient
    checkpoint: str | None = None

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """`TritonClient.features`: all checkpoints listen to the same Whisper."""
        return await self.client.features(window)

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        """`TritonClient.faces`."""
        return await self.client.faces(noise, condition, audio, steps, guidance, self.checkpoint)

    async def decode(self, latents: NDArray[np.float16]) -> NDArray[np.uint8]:
        """`TritonClient.decode`."""
        return await self.client.decode(latents, self.checkpoint)

    async def encode(self, pixels: NDArray[np.float16]) -> NDArray[np.float16]:
        """`TritonClient.encode`."""
        return await self.client.encode(pixels, self.checkpoint)

    async def encoder_batch(self) -> int:
        """`TritonClient.encoder_batch`."""
        return await self.client.encoder_batch()

    async def recover(self, error: InferenceError) -> bool:
        """`TritonClient.recover`."""
        return await self.client.recover(error)
