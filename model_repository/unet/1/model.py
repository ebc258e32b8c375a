"""Triton model `unet`: a chunk of frames denoised from noise, condition and audio features."""

from __future__ import annotations

import triton_python_backend_utils as pb_utils

from latentsync.serving.by_checkpoint import ByCheckpoint
from latentsync.serving.denoising_model import DenoisingModel
from latentsync.serving.instance import ModelInstance


class TritonPythonModel:
    """`NOISE`, `CONDITION`, `AUDIO`, `STEPS`, `GUIDANCE` -> `LATENTS` FP16 [F, 4, R/8, R/8] of a chunk of F frames."""

    def initialize(self, args: dict[str, str]) -> None:
        started = ModelInstance.start(args)
        self._model = ByCheckpoint({each.name: DenoisingModel(instance, each) for instance, each in started})

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        return self._model.execute(requests)
