"""Triton model `vae_encoder`: face pictures to latents, used when an avatar is prepared."""

from __future__ import annotations

import torch
import triton_python_backend_utils as pb_utils

from latentsync.checkpoint import Checkpoint
from latentsync.serving.by_checkpoint import ByCheckpoint
from latentsync.serving.checks import require_finite, require_side
from latentsync.serving.instance import ModelInstance
from latentsync.serving.tensor_model import TensorModel


class TritonPythonModel:
    """`PIXELS` FP16 [3, R, R] in [-1, 1] -> `LATENTS` FP16 [4, R/8, R/8], times the VAE's scale."""

    def initialize(self, args: dict[str, str]) -> None:
        started = ModelInstance.start(args)
        self._model = ByCheckpoint({each.name: _encoder(instance, each) for instance, each in started})

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        return self._model.execute(requests)


def _encoder(instance: ModelInstance, checkpoint: Checkpoint) -> TensorModel:
    vae, side = checkpoint.load_vae(instance.device, instance.dtype), checkpoint.resolution

    def checked(name: str, pixels: torch.Tensor) -> torch.Tensor:
        return require_side(name, require_finite(name, pixels), side)

    def latents(pixels: torch.Tensor) -> torch.Tensor:
        return vae.encode(pixels).to(torch.float16)

    model = TensorModel(instance, "PIXELS", "LATENTS", checked, latents)
    model.warm_up((3, side, side))
    return model
