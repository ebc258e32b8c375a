"""What is sent to the models: real chunks of an avatar that says a speech, or drawn ones of the same shapes."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.client import CHUNK_FRAMES, TritonClient
from inference.transport import Inputs, Output
from latentsync.avatar import PreparedAvatar
from latentsync.contract import CONTRACT
from latentsync.scheduler import task_noise
from speech.features import SpeechFeatures
from speech.log import SpeechLog
from speech.timeline import SpeechTimeline
from speech.windows import WHOLE_WINDOWS

UNET, DECODER, ENSEMBLE = "unet", "vae_decoder", "lipsync"
_SEED = 0


@dataclass(frozen=True)
class Chunk:
    """One request's tensors without a batch axis: noise [4, h, h], condition [16, 9, h, h], audio [16, 50, 384]."""

    noise: NDArray[np.float32]
    condition: NDArray[np.float16]
    audio: NDArray[np.float16]

    def inputs(self, steps: int, guidance: float) -> Inputs:
        """As `lipsync` and `unet` take it, one row."""
        return {
            "NOISE": self.noise[None],
            "CONDITION": self.condition[None],
            "AUDIO": self.audio[None],
            "STEPS": np.array([[steps]], np.int32),
            "GUIDANCE": np.array([[guidance]], np.float32),
        }


@dataclass(frozen=True)
class ChunkSet:
    """Chunks, and a description of their origin; `latent_size` is h."""

    chunks: tuple[Chunk, ...]
    latent_size: int
    origin: str

    def faces(self) -> Output:
        """What `lipsync` and `vae_decoder` answer."""
        side = 8 * self.latent_size
        return Output("FACES", (1, CHUNK_FRAMES, side, side, 3), np.uint8)

    def latents(self) -> Output:
        """What `unet` answers."""
        return Output(
            "LATENTS", (1, CHUNK_FRAMES, CONTRACT.latent_channels, self.latent_size, self.latent_size), np.float16
        )


async def real_chunks(avatar: PreparedAvatar, log: SpeechLog, speech: str, client: TritonClient) -> ChunkSet:
    """All whole chunks of a speech on the avatar, as the live path would send them; raises InferenceError.

    `log` is sealed and has at least 16 frames; `speech` says what it is.
    """
    features = SpeechFeatures(client, SpeechTimeline(log, 0, 0), WHOLE_WINDOWS, attempts=1, clock=time.monotonic)
    noise = task_noise(_SEED, avatar.condition.shape[-1])
    chunks = []
    try:
        for first in range(0, log.frames - CHUNK_FRAMES + 1, CHUNK_FRAMES):
            rows = [avatar.frame_index(first + frame) for frame in range(CHUNK_FRAMES)]
            audio = await features.for_frames(first, first + CHUNK_FRAMES - 1)
            chunks.append(Chunk(noise, np.ascontiguousarray(avatar.condition[rows]), np.ascontiguousarray(audio)))
    finally:
        await features.aclose()
    origin = f"{len(chunks)} chunks of the avatar {avatar.name!r} saying {speech}, one noise"
    return ChunkSet(tuple(chunks), avatar.condition.shape[-1], origin)


def drawn_chunks(latent_size: int, reason: str, count: int = 8) -> ChunkSet:
    """Chunks of normal values from a fixed seed; `reason` says why there are no real ones."""
    random = np.random.default_rng(_SEED)
    chunks = tuple(
        Chunk(
            random.standard_normal((4, latent_size, latent_size), np.float32),
            random.standard_normal(
                (CHUNK_FRAMES, CONTRACT.condition_channels, latent_size, latent_size), np.float32
            ).astype(np.float16),
            random.standard_normal((CHUNK_FRAMES, *CONTRACT.audio_shape), np.float32).astype(np.float16),
        )
        for _ in range(count)
    )
    return ChunkSet(chunks, latent_size, f"{count} chunks of normal values, seed {_SEED}: {reason}")
