"""Triton model `vae_encoder`: face pictures to latents, used when an avatar is prepared."""

from __future__ import annotations

import torch
import triton_python_backend_utils as pb_utils

from latentsync.serving.checks import require_finite
from latentsync.serving.instance import ModelInstance
from latentsync.serving.tensor_model import TensorModel


class TritonPythonModel:
    """`PIXELS` FP16 [3, R, R] in [-1, 1] -> `LATENTS` FP16 [4, R/8, R/8], times the VAE's scale."""

    def initialize(self, args: dict[str, str]) -> None:
        instance, checkpoint = ModelInstance.start(args)
        vae = checkpoint.load_vae(instance.device, instance.dtype)

        def latents(pixels: torch.Tensor) -> torch.Tensor:
            return vae.encode(pixels).to(torch.float16)

        self._model = TensorModel(instance, "PIXELS", "LATENTS", require_finite, latents)
        self._model.warm_up((3, checkpoint.resolution, checkpoint.resolution))

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        return self._model.execute(requests)
