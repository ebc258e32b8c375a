"""Triton model `vae_encoder`: face pictures to latents, used when an avatar is prepared."""

from functools import partial

import torch
import triton_python_backend_utils as pb_utils

from latentsync.checkpoint import Checkpoint
from latentsync.serving import ModelInstance, require_finite, run_batch


class TritonPythonModel:
    """`PIXELS` FP16 [3, R, R] in [-1, 1] -> `LATENTS` FP16 [4, R/8, R/8], times the VAE's scale."""

    def initialize(self, args):
        self._instance = ModelInstance.from_triton(args)
        self._instance.apply()
        checkpoint = Checkpoint.open(self._instance.checkpoint_dir)
        self._vae = checkpoint.load_vae(self._instance.device, self._instance.dtype)
        size = checkpoint.resolution
        with torch.inference_mode():  # the first run is slow: it ends before the model is ready
            self._latents(torch.zeros(1, 3, size, size, device=self._instance.device))

    def execute(self, requests):
        pictures = [self._pixels(request) for request in requests]
        outcomes = run_batch(pictures, self._instance.device, partial(require_finite, "PIXELS"), self._latents)
        return [self._response(outcome) for outcome in outcomes]

    def _pixels(self, request):
        return torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, "PIXELS"))

    def _latents(self, pixels):
        return self._vae.encode(pixels).to(torch.float16)

    def _response(self, outcome):
        if isinstance(outcome, ValueError):
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError(str(outcome), pb_utils.TritonError.INVALID_ARG)
            )
        if isinstance(outcome, RuntimeError):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"vae_encoder failed: {outcome}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("LATENTS", outcome.contiguous())])
