"""Triton model `vae_decoder`: a chunk of latents to face pictures."""

from __future__ import annotations

import torch
import triton_python_backend_utils as pb_utils

from latentsync.contract import CONTRACT
from latentsync.serving.checks import require_chunk
from latentsync.serving.instance import ModelInstance
from latentsync.serving.tensor_model import TensorModel
from latentsync.vae import pixels_to_uint8


class TritonPythonModel:
    """`LATENTS` FP16 [F, 4, R/8, R/8] -> `FACES` UINT8 [F, R, R, 3], RGB; F is one of the contract's chunk lengths."""

    def initialize(self, args: dict[str, str]) -> None:
        instance, checkpoint = ModelInstance.start(args)
        decode = instance.run_decoder(checkpoint.load_vae(instance.device, instance.dtype))

        def faces(latents: torch.Tensor) -> torch.Tensor:
            # Clients send float16; compiled graphs take float32 only.
            pictures = pixels_to_uint8(decode(latents.float().flatten(0, 1)))
            return pictures.view(*latents.shape[:2], *pictures.shape[1:])

        self._model = TensorModel(instance, "LATENTS", "FACES", require_chunk, faces)
        size = checkpoint.latent_size
        lengths = reversed(CONTRACT.chunk_lengths)  # as the batches of a length, the largest first
        self._model.warm_up(*((frames, CONTRACT.latent_channels, size, size) for frames in lengths))

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        return self._model.execute(requests)
