"""Triton model `whisper`: a window of speech to the hidden states that LatentSync hears."""

from __future__ import annotations

import torch
import triton_python_backend_utils as pb_utils

from latentsync.contract import CONTRACT
from latentsync.serving.checks import require_window
from latentsync.serving.instance import ModelInstance
from latentsync.serving.tensor_model import TensorModel


class TritonPythonModel:
    """`PCM` FP32 [480000] at 16 kHz -> `FEATURES` FP16 [1500, 5, 384]."""

    def initialize(self, args: dict[str, str]) -> None:
        instance, checkpoint = ModelInstance.start(args)
        encoder = checkpoint.load_whisper(instance.device, instance.dtype)

        def features(pcm: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = encoder(pcm)
            return states.to(torch.float16)

        self._model = TensorModel(instance, "PCM", "FEATURES", require_window, features)
        self._model.warm_up(CONTRACT.window_samples)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        return self._model.execute(requests)
