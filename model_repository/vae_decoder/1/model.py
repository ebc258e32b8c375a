"""Triton model `vae_decoder`: a chunk of latents to face pictures."""

from functools import partial

import torch
import triton_python_backend_utils as pb_utils

from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.engine import Engine
from latentsync.serving import ModelInstance, require_chunk, run_batch
from latentsync.vae import pixels_to_uint8


class TritonPythonModel:
    """`LATENTS` FP16 [16, 4, R/8, R/8] -> `FACES` UINT8 [16, R, R, 3], RGB."""

    def initialize(self, args):
        self._instance = ModelInstance.from_triton(args)
        self._instance.apply()
        checkpoint = Checkpoint.open(self._instance.checkpoint_dir)
        vae = checkpoint.load_vae(self._instance.device, self._instance.dtype)
        self._decode = self._instance.run_decoder(vae)
        size = checkpoint.latent_size
        # The first run of a size is slow: it ends before the model is ready.
        compiled = self._instance.engine is not Engine.EAGER
        with torch.inference_mode(), self._instance.kept_kernels():
            for count in range(1, self._instance.max_batch + 1) if compiled else (1,):
                self._faces(
                    torch.zeros(
                        count, CONTRACT.chunk_frames, CONTRACT.latent_channels, size, size, device=self._instance.device
                    )
                )

    def execute(self, requests):
        chunks = [self._latents(request) for request in requests]
        outcomes = run_batch(chunks, self._instance.device, partial(require_chunk, "LATENTS"), self._faces)
        return [self._response(outcome) for outcome in outcomes]

    def _latents(self, request):
        return torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, "LATENTS"))

    def _faces(self, latents):
        # The client's halves become float32 here: compiled graphs take one type.
        pixels = self._decode(latents.float().flatten(0, 1))
        return pixels_to_uint8(pixels).unflatten(0, (-1, CONTRACT.chunk_frames))

    def _response(self, outcome):
        if isinstance(outcome, ValueError):
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError(str(outcome), pb_utils.TritonError.INVALID_ARG)
            )
        if isinstance(outcome, RuntimeError):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"vae_decoder failed: {outcome}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("FACES", outcome.contiguous())])
