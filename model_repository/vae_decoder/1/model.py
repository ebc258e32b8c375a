"""Triton model `vae_decoder`: a chunk of latents to face pictures."""

from functools import partial

import torch
import triton_python_backend_utils as pb_utils

from latentsync.checkpoint import Checkpoint
from latentsync.serving import ModelInstance, require_finite, run_batch
from latentsync.vae import pixels_to_uint8

CHUNK_FRAMES = 16


class TritonPythonModel:
    """`LATENTS` FP16 [16, 4, R/8, R/8] -> `FACES` UINT8 [16, R, R, 3], RGB."""

    def initialize(self, args):
        self._instance = ModelInstance.from_triton(args)
        self._instance.apply()
        checkpoint = Checkpoint.open(self._instance.checkpoint_dir)
        self._vae = checkpoint.load_vae(self._instance.device, self._instance.dtype)
        size = checkpoint.latent_size
        with torch.inference_mode():  # the first run is slow: it ends before the model is ready
            self._faces(torch.zeros(1, CHUNK_FRAMES, 4, size, size))

    def execute(self, requests):
        chunks = [self._latents(request) for request in requests]
        outcomes = run_batch(chunks, partial(require_finite, "LATENTS"), self._faces)
        return [self._response(outcome) for outcome in outcomes]

    def _latents(self, request):
        return torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, "LATENTS"))

    def _faces(self, latents):
        pixels = self._vae.decode(latents.to(self._instance.device).flatten(0, 1))
        return pixels_to_uint8(pixels).unflatten(0, (-1, CHUNK_FRAMES))

    def _response(self, outcome):
        if isinstance(outcome, ValueError):
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError(str(outcome), pb_utils.TritonError.INVALID_ARG)
            )
        if isinstance(outcome, RuntimeError):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"vae_decoder failed: {outcome}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("FACES", outcome.contiguous())])
