"""Models that change nothing: what they "generate" for a frame is the very face crop that was encoded for it.

Stands in for a VAE without loss and a UNet that leaves the reference as it is. A latent carries the number of the crop
that was encoded, and `faces` gives back the crops that the reference latents of the condition name. Everything else is
the product's own: which frame a position is, its crop, its condition, the chunks, their order, and the paste-back.
"""

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT

_REFERENCE = 5  # of the condition's channels: mask 1, masked 4, reference 4


class IdentityModels:
    """Stands where TritonClient stands, for preparing an avatar and for its speech."""

    def __init__(self) -> None:
        self._crops: list[NDArray[np.uint8]] = []

    async def encoder_batch(self) -> int:
        return 16

    async def encode(self, pixels: NDArray[np.float16]) -> NDArray[np.float16]:
        numbers = np.arange(len(self._crops), len(self._crops) + len(pixels))
        assert numbers[-1] <= 2048, "float16 counts no further"
        self._crops += list(np.rint((pixels.astype(np.float32) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1))
        size = pixels.shape[-1] // 8
        return np.broadcast_to(numbers[:, None, None, None], (len(pixels), 4, size, size)).astype(np.float16)

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        return np.zeros(CONTRACT.features_shape(len(window)), np.float16)

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        return await self.decode(condition[:, _REFERENCE:])

    async def decode(self, latents: NDArray[np.float16]) -> NDArray[np.uint8]:
        numbers = latents[:, 0, 0, 0].astype(int)
        assert len(numbers) in CONTRACT.chunk_lengths
        return np.stack([self._crops[number] for number in numbers])
