"""Triton model `whisper`: 30 s of speech to the hidden states that LatentSync listens to."""

from functools import partial

import torch
import triton_python_backend_utils as pb_utils

from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.serving import ModelInstance, require_window, run_batch


class TritonPythonModel:
    """`PCM` FP32 [480000] at 16 kHz -> `FEATURES` FP16 [1500, 5, 384]."""

    def initialize(self, args):
        self._instance = ModelInstance.from_triton(args)
        self._instance.apply()
        checkpoint = Checkpoint.open(self._instance.checkpoint_dir)
        self._encoder = checkpoint.load_whisper(self._instance.device, self._instance.dtype)
        with torch.inference_mode():  # the first run is slow: it ends before the model is ready
            self._features(torch.zeros(1, CONTRACT.window_samples, device=self._instance.device))

    def execute(self, requests):
        windows = [self._window(request) for request in requests]
        outcomes = run_batch(windows, self._instance.device, partial(require_window, "PCM"), self._features)
        return [self._response(outcome) for outcome in outcomes]

    def _window(self, request):
        return torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, "PCM"))

    def _features(self, pcm):
        return self._encoder(pcm).to(torch.float16)

    def _response(self, outcome):
        if isinstance(outcome, ValueError):
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError(str(outcome), pb_utils.TritonError.INVALID_ARG)
            )
        if isinstance(outcome, RuntimeError):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"whisper failed: {outcome}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("FEATURES", outcome.contiguous())])
