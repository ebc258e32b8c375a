"""The served UNet of one checkpoint: a chunk of frames denoised from noise, condition and audio features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import torch
import triton_python_backend_utils as pb_utils

from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.denoising import Cancelled, denoise
from latentsync.serving.batches import concatenate, run_in_halves, wait_for_gpu
from latentsync.serving.chunks import ChunkRequest, group_by_settings
from latentsync.serving.instance import ModelInstance
from latentsync.serving.responses import cancelled, failed, input_tensor, invalid, success


class DenoisingModel:
    """Denoises chunks of any of the contract's lengths, those of equal settings together."""

    def __init__(self, instance: ModelInstance, checkpoint: Checkpoint) -> None:
        """Loads the UNet and warms it up; raises CheckpointError and EngineError."""
        self._instance = instance
        self._scheduler = checkpoint.scheduler
        self._latent_size = checkpoint.latent_size
        self._guidance_base = checkpoint.guidance_base(instance.device)
        self._unet = instance.run_unet(checkpoint.load_unet(instance.device, instance.dtype))
        guidances = (2.0, 1.0) if instance.is_compiled else (1.0,)  # guidance doubles the batch
        # As the batches, the largest first. A chunk of 4 frames is the first of a speech, which a viewer waits for.
        lengths = reversed(CONTRACT.chunk_lengths)
        with instance.exported_kernels():
            for frames, guidance, count in product(lengths, guidances, instance.warm_up_batches):
                blank = ChunkRequest.blank(frames, checkpoint.latent_size)
                self._denoise([replace(blank, guidance=guidance)] * count)

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """A response for each request, in their order."""
        responses: dict[int, pb_utils.InferenceResponse] = {}
        chunks: dict[ChunkRequest, int] = {}
        for index, request in enumerate(requests):
            try:
                chunk = ChunkRequest.read(
                    partial(input_tensor, request), self._scheduler, self._latent_size, request.is_cancelled
                )
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
