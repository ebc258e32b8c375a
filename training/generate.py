"""The faces that a checkpoint generates for a clip, with the same package as the server."""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.checkpoint import Checkpoint
from latentsync.condition import face_condition
from latentsync.contract import CONTRACT
from latentsync.denoising import Solver, denoise, task_noise
from latentsync.engine import Engine
from latentsync.engines import run_unet
from latentsync.vae import pixels_to_uint8
from latentsync.whisper import frame_windows, join_features, split_windows

CHUNK = CONTRACT.chunk_frames


class CheckpointGenerator:
    """What `training.evaluate` measures: a checkpoint folder, run on "cpu" or "cuda"."""

    def __init__(
        self,
        checkpoint: Path,
        idle: NDArray[np.uint8],
        device: str,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        solver: str = "ddim",
        reuse: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Load the models and encode the idle clip, uint8 [N, R, R, 3]; `solver` and `reuse` are those of `denoise`.

        `dtype` is that of the UNet and the VAE; a server's on a CPU is `latentsync.cpu.preferred_dtype`.

        Raises CheckpointError, and ValueError when the idle clip has another resolution than the checkpoint.
        """
        opened = Checkpoint.open(checkpoint)
        if idle.shape[1] != opened.resolution:
            raise ValueError(f"the idle clip has {idle.shape[1]} px faces, the checkpoint {opened.resolution}")
        self.scheduler = opened.scheduler
        self.steps = steps or opened.scheduler.default_steps
        self.guidance = opened.scheduler.default_guidance if guidance is None else guidance
        self._solver, self._reuse = Solver(solver), reuse
        self._device = device
        unet = opened.load_unet(device, dtype)
        self._unet = run_unet(unet, Engine.EAGER, None, (), reuse)
        self._vae = opened.load_vae(device, dtype)
        self._whisper = opened.load_whisper(device)
        self._guidance_base = opened.guidance_base(device)
        self._noise = torch.from_numpy(task_noise(seed, opened.latent_size)).to(device)
        self._condition = face_condition(self._vae, idle)

    @torch.inference_mode()
    def __call__(self, pcm: NDArray[np.float32], idle_indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decoded faces uint8 [n, R, R, 3] for mono 16 kHz `pcm` over the idle frames [n]."""
        windows, counts = split_windows(pcm)
        encoded = [self._whisper(torch.from_numpy(window[None]).to(self._device))[0] for window in windows]
        features = join_features([one.float().cpu().numpy() for one in encoded], counts)
        count = len(idle_indices)
        chunks = math.ceil(count / CHUNK)
        frames = np.minimum(np.arange(chunks * CHUNK), count - 1)  # the last chunk repeats its last frame
        audio = torch.from_numpy(frame_windows(features, frames))
        condition = torch.from_numpy(self._condition[idle_indices[frames]])
        faces = []
        for start in range(0, len(frames), CHUNK):
            latents = denoise(
                self._unet,
                self._noise[None],
                condition[None, start : start + CHUNK].to(self._device),
                audio[None, start : start + CHUNK].to(self._device),
                self.steps,
                self.guidance,
                self.scheduler,
                solver=self._solver,
                reuse=self._reuse,
                guidance_base=self._guidance_base,
            )
            faces.append(pixels_to_uint8(self._vae.decode(latents[0])).cpu().numpy())
        return np.asarray(np.concatenate(faces)[:count])
