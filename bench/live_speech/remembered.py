"""Features that are encoded once, where several ways to say a speech hear the same windows of it."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from latentsync.contract import CONTRACT
from speech.request import SpeechModels


class RememberedFeatures:
    """A model of features that encodes each window once; for one speech, as it keeps the features of all its windows.

    With chunks of 8 and 16 frames Whisper hears windows that it has heard with chunks of 4, and with some look-aheads
    those of others. To encode them takes most of the time of the curve.
    """

    def __init__(self, models: SpeechModels) -> None:
        """Ask `models` for what is not known yet."""
        self._models = models
        self._known: dict[bytes, NDArray[np.float16]] = {}

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """Features [m, 5, 384] of the window's sound; its padding, for which a model has features too, is left out."""
        window_hash = hashlib.sha256(window.data).digest()
        if window_hash not in self._known:
            sound = int(np.isfinite(window).sum()) // CONTRACT.samples_per_position
            self._known[window_hash] = (await self._models.features(window))[:sound].copy()
        return self._known[window_hash]

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        """Faces [k, R, R, 3], made anew each time."""
        return await self._models.faces(noise, condition, audio, steps, guidance)
