"""Triton model `unet`: a chunk of frames denoised from noise, condition and audio features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import torch
import triton_python_backend_utils as pb_utils

from latentsync.contract import CONTRACT
from latentsync.denoising import Cancelled, denoise
from latentsync.serving.batches import concatenate, run_in_halves, wait_for_gpu
from latentsync.serving.chunks import ChunkRequest, group_by_settings
from latentsync.serving.instance import ModelInstance
from latentsync.serving.responses import cancelled, failed, input_tensor, invalid, success


class TritonPythonModel:
    """`NOISE`, `CONDITION`, `AUDIO`, `STEPS`, `GUIDANCE` -> `LATENTS` FP16 [F, 4, R/8, R/8] of a chunk of F frames."""

    def initialize(self, args: dict[str, str]) -> None:
        self._instance, checkpoint = ModelInstance.start(args)
        self._scheduler = checkpoint.scheduler
        self._guidance_base = checkpoint.guidance_base(self._instance.device)
        unet = checkpoint.load_unet(self._instance.device, self._instance.dtype)
        self._unet = self._instance.run_unet(unet)
        guidances = (2.0, 1.0) if self._instance.is_compiled else (1.0,)  # guidance doubles the batch
        # As the batches, the largest first. A chunk of 4 frames is the first of a speech, which a viewer waits for.
        lengths = reversed(CONTRACT.chunk_lengths)
        with self._instance.exported_kernels():
            for frames, guidance, count in product(lengths, guidances, self._instance.warm_up_batches):
                blank = ChunkRequest.blank(frames, checkpoint.latent_size)
                self._denoise([replace(blank, guidance=guidance)] * count)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        responses: dict[int, pb_utils.InferenceResponse] = {}
        chunks: dict[ChunkRequest, int] = {}
        for index, request in enumerate(requests):
            try:
                chunk = ChunkRequest.read(partial(input_tensor, request), self._scheduler, request.is_cancelled)
                chunks[chunk] = index
            except ValueError as error:
                responses[index] = invalid(error)
        for group in group_by_settings(list(chunks)):
            outcomes = run_in_halves(group, self._denoise)
            responses |= {chunks[chunk]: _response(chunk, each) for chunk, each in zip(group, outcomes, strict=True)}
        return [responses[index] for index in range(len(requests))]

    @torch.inference_mode()
    def _denoise(self, chunks: Sequence[ChunkRequest]) -> Sequence[torch.Tensor | None]:
        """Each chunk's latents float16, or None for all when every client has cancelled."""
        device = self._instance.device
        try:
            latents = denoise(
                self._unet,
                concatenate([chunk.noise for chunk in chunks], device),
                concatenate([chunk.condition for chunk in chunks], device),
                concatenate([chunk.audio for chunk in chunks], device),
                chunks[0].steps,
                chunks[0].guidance,
                self._scheduler,
                should_stop=lambda: all(chunk.is_cancelled() for chunk in chunks),
                solver=self._instance.solver,
                reuse=self._instance.reuse,
                guidance_base=self._guidance_base,
            )
        except Cancelled:
            return [None] * len(chunks)
        return torch.split(wait_for_gpu(latents.to(torch.float16)), [len(chunk.noise) for chunk in chunks])


def _response(chunk: ChunkRequest, outcome: torch.Tensor | RuntimeError | None) -> pb_utils.InferenceResponse:
    if isinstance(outcome, RuntimeError):
        return failed(f"denoising failed: {outcome}")
    return cancelled() if outcome is None or chunk.is_cancelled() else success("LATENTS", outcome)
