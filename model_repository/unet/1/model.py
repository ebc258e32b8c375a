"""Triton model `unet`: a chunk of 16 frames denoised from noise, condition and audio features."""

from dataclasses import dataclass, replace

import torch
import triton_python_backend_utils as pb_utils

from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.denoising import Cancelled, denoise, timesteps
from latentsync.engine import Engine
from latentsync.serving import ModelInstance, awaited, joined, require_chunk, require_finite


@dataclass(frozen=True)
class Chunk:
    """One request's tensors, with a leading row axis, and the settings that its batch mates must share."""

    request: object
    noise: torch.Tensor
    condition: torch.Tensor
    audio: torch.Tensor
    steps: int
    guidance: float


class TritonPythonModel:
    """`NOISE`, `CONDITION`, `AUDIO`, `STEPS`, `GUIDANCE` -> `LATENTS` FP16 [16, 4, R/8, R/8]."""

    def initialize(self, args):
        self._instance = ModelInstance.from_triton(args)
        self._instance.apply()
        checkpoint = Checkpoint.open(self._instance.checkpoint_dir)
        self._scheduler = checkpoint.scheduler
        unet = checkpoint.load_unet(self._instance.device, self._instance.dtype)
        self._unet = self._instance.run_unet(unet)
        size = checkpoint.latent_size
        silence = torch.zeros(1, CONTRACT.chunk_frames, *CONTRACT.audio_shape)
        blank = torch.zeros(1, CONTRACT.chunk_frames, CONTRACT.condition_channels, size, size)
        chunk = Chunk(None, torch.zeros(1, CONTRACT.latent_channels, size, size), blank, silence, steps=1, guidance=1.0)
        # The first run of a size is slow: compiled graphs are loaded or captured then, each size's before it is ready.
        compiled = self._instance.engine is not Engine.EAGER
        with self._instance.kept_kernels():
            for count in range(1, self._instance.max_batch + 1) if compiled else (1,):
                for guidance in (1.0, 2.0) if compiled else (1.0,):
                    self._denoise([replace(chunk, guidance=guidance)] * count)

    def execute(self, requests):
        responses = [None] * len(requests)
        groups = {}
        for index, request in enumerate(requests):
            try:
                chunk = self._chunk(request)
            except ValueError as error:
                responses[index] = failure(error, pb_utils.TritonError.INVALID_ARG)
            else:
                groups.setdefault((chunk.steps, chunk.guidance), []).append((index, chunk))
        for members in groups.values():
            answers = self._answers([chunk for _, chunk in members])
            for (index, _), answer in zip(members, answers, strict=True):
                responses[index] = answer
        return responses

    def _chunk(self, request):
        def tensor(name, check=require_finite):
            return check(name, torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)))

        noise, condition, audio = tensor("NOISE"), tensor("CONDITION", require_chunk), tensor("AUDIO", require_chunk)
        steps, guidance = tensor("STEPS").unique(), tensor("GUIDANCE").unique()
        if steps.numel() != 1 or guidance.numel() != 1:
            raise ValueError("STEPS and GUIDANCE must be the same for all rows of a request")
        if timesteps(self._scheduler, int(steps.item()))[0] >= self._scheduler.num_train_timesteps:
            raise ValueError(f"STEPS is {steps.item()}, too many for this checkpoint's timestep spacing")
        if guidance.item() < 0:
            raise ValueError(f"GUIDANCE is {guidance.item():g}, expected 0 or more; 1 switches it off")
        return Chunk(request, noise, condition, audio, steps=int(steps.item()), guidance=float(guidance.item()))

    def _answers(self, chunks):
        try:
            latents = self._denoise(chunks)
        except Cancelled:
            return [cancelled() for _ in chunks]
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) and len(chunks) > 1:
                latents = None
            else:  # these requests share the batch and its fate, the other groups go on
                return [failure(f"denoising failed: {error}", pb_utils.TritonError.INTERNAL) for _ in chunks]
        if latents is None:  # halves may fit, now that the error and the tensors that it held on to are gone
            half = len(chunks) // 2
            return self._answers(chunks[:half]) + self._answers(chunks[half:])
        rows = latents.split([chunk.noise.shape[0] for chunk in chunks])
        return [
            cancelled()
            if chunk.request.is_cancelled()
            else pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("LATENTS", part.contiguous())])
            for chunk, part in zip(chunks, rows, strict=True)
        ]

    @torch.inference_mode()
    def _denoise(self, chunks):
        def of_all(name):
            return joined([getattr(chunk, name) for chunk in chunks], self._instance.device)

        def should_stop():
            return all(chunk.request is not None and chunk.request.is_cancelled() for chunk in chunks)

        settings = {"steps": chunks[0].steps, "guidance": chunks[0].guidance, "scheduler": self._scheduler}
        settings |= {"solver": self._instance.solver, "reuse": self._instance.reuse}
        latents = denoise(
            self._unet, of_all("noise"), of_all("condition"), of_all("audio"), should_stop=should_stop, **settings
        )
        return awaited(latents.to(torch.float16))


def failure(reason, code):
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(reason), code))


def cancelled():
    return failure("the client cancelled the request", pb_utils.TritonError.CANCELLED)
