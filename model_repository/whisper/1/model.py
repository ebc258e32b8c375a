"""Triton model `whisper`: a window of speech to the hidden states that LatentSync hears."""

from __future__ import annotations

import torch
import triton_python_backend_utils as pb_utils

from latentsync.contract import CONTRACT
from latentsync.serving.checks import require_window
from latentsync.serving.instance import ModelInstance
from latentsync.serving.positions import wanted_positions
from latentsync.serving.tensor_model import TensorModel


class TritonPythonModel:
    """`PCM` FP32 [n] at 16 kHz, of 1 to 30 whole seconds -> `FEATURES` FP16 [n / 320, 5, 384], or the first of them.

    The request's parameter `positions` says how many are wanted.
    """

    def initialize(self, args: dict[str, str]) -> None:
        instance, checkpoint = ModelInstance.start(args)[0]
        encoder = checkpoint.load_whisper(instance.device, instance.dtype)
        on_gpu = instance.device.type == "cuda"
        if on_gpu:
            encoder.capture_longest()

        def features(pcm: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = encoder(pcm)
            return states.to(torch.float16)

        self._model = TensorModel(instance, "PCM", "FEATURES", require_window, features, wanted_positions)
        # Where cuDNN tries its algorithms on each shape, the first window of a length is slow. On a CPU it isn't.
        seconds = range(CONTRACT.window_s, 0, -1) if on_gpu else (CONTRACT.window_s,)
        self._model.warm_up(*((each * CONTRACT.sample_rate_hz,) for each in seconds))

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        return self._model.execute(requests)
