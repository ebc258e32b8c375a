"""Inputs for the served models, and their requests."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import np_to_triton_dtype

from latentsync.checkpoint import Checkpoint
from latentsync.denoising import denoise
from tests.support.tiny_checkpoint import LATENT_SIZE


@dataclass(frozen=True)
class Chunk:
    """What the unet and the lipsync ensemble take for a chunk."""

    noise: NDArray[np.float32]
    condition: NDArray[np.float16]
    audio: NDArray[np.float16]
    steps: int = 2
    guidance: float = 1.0

    def with_settings(self, steps: int, guidance: float = 1.0) -> "Chunk":
        return replace(self, steps=steps, guidance=guidance)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "NOISE": self.noise,
            "CONDITION": self.condition,
            "AUDIO": self.audio,
            "STEPS": np.array([self.steps], np.int32),
            "GUIDANCE": np.array([self.guidance], np.float32),
        }


def random_chunk(
    seed: int, steps: int = 2, guidance: float = 1.0, frames: int = 16, latent_size: int = LATENT_SIZE
) -> Chunk:
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape, dtype=np.float32)

    return Chunk(
        noise=normal(4, latent_size, latent_size),
        condition=normal(frames, 9, latent_size, latent_size).astype(np.float16),
        audio=normal(frames, 50, 384).astype(np.float16),
        steps=steps,
        guidance=guidance,
    )


def infer_inputs(arrays: dict[str, NDArray[Any]]) -> list[InferInput]:
    """Tensors of one request, each given the leading row axis that batching needs."""
    inputs = []
    for name, array in arrays.items():
        tensor = InferInput(name, [1, *array.shape], np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array[None])
        inputs.append(tensor)
    return inputs


async def infer(client: InferenceServerClient, model: str, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The one output of a model for one row."""
    result: InferResult = await client.infer(model, infer_inputs(arrays))
    (output,) = result.get_response().outputs
    row: NDArray[Any] = result.as_numpy(output.name)[0]
    return row


def denoised(checkpoint: Checkpoint, chunk: Chunk) -> torch.Tensor:
    noise, condition, audio = (torch.from_numpy(array)[None] for array in (chunk.noise, chunk.condition, chunk.audio))
    with torch.inference_mode():
        return denoise(
            checkpoint.load_unet(), noise, condition, audio, chunk.steps, chunk.guidance, checkpoint.scheduler
        )[0]
