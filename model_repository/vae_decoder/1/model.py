"""Triton model `vae_decoder`: a chunk of latents to face pictures."""

from __future__ import annotations

import torch
import triton_python_backend_utils as pb_utils

from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.serving.by_checkpoint import ByCheckpoint
from latentsync.serving.checks import require_chunk, require_side
from latentsync.serving.instance import ModelInstance
from latentsync.serving.tensor_model import TensorModel
from latentsync.vae import pixels_to_uint8


class TritonPythonModel:
    """`LATENTS` FP16 [F, 4, R/8, R/8] -> `FACES` UINT8 [F, R, R, 3], RGB; F is one of the contract's chunk lengths."""

    def initialize(self, args: dict[str, str]) -> None:
        started = ModelInstance.start(args)
        self._model = ByCheckpoint({each.name: _decoder(instance, each) for instance, each in started})

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        return self._model.execute(requests)


def _decoder(instance: ModelInstance, checkpoint: Checkpoint) -> TensorModel:
    decode = instance.run_decoder(checkpoint.load_vae(instance.device, instance.dtype))
    size = checkpoint.latent_size

    def checked(name: str, latents: torch.Tensor) -> torch.Tensor:
        return require_side(name, require_chunk(name, latents), size)

    def faces(latents: torch.Tensor) -> torch.Tensor:
        # Clients send float16; compiled graphs take float32 only.
        pictures = pixels_to_uint8(decode(latents.float().flatten(0, 1)))
        return pictures.view(*latents.shape[:2], *pictures.shape[1:])

    model = TensorModel(instance, "LATENTS", "FACES", checked, faces)
    lengths = reversed(CONTRACT.chunk_lengths)  # as the batches of a length, the largest first
    model.warm_up(*((frames, CONTRACT.latent_channels, size, size) for frames in lengths))
    return model
