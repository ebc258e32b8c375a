"""The error of the exported models against float32 eager ones, stage by stage, on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from export.options import Dtype, whisper_dtype
from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.denoising import PlainPredictor, Predictor, Solver, denoise
from latentsync.engine import Engine
from latentsync.engines import as_function
from latentsync.graphs import Run
from latentsync.scheduler import SchedulerConfig
from latentsync.unet import LatentSyncUNet
from latentsync.vae import FaceDecoder, Vae

_TIMESTEP = 501


@dataclass(frozen=True)
class StageParity:
    """One stage's largest difference, and the norm of its difference over the norm of the float32 result."""

    stage: str
    engine: str
    dtype: str
    max_error: float
    relative_error: float

    @property
    def finite(self) -> bool:
        """Whether all of the stage's results are finite."""
        return self.max_error < float("inf")  # False for NaN too


@dataclass(frozen=True)
class Stage:
    """A served model and its inputs; `run` takes a dtype, and True for the exported model, False for plain PyTorch."""

    name: str
    run: Callable[[torch.dtype, bool], Run]
    inputs: tuple[Tensor, ...]
    dtype: torch.dtype
    engine: Engine = Engine.EAGER


class Served(Protocol):
    """Turns loaded networks into what is exported."""

    def unet(self, unet: LatentSyncUNet) -> Predictor:
        """The UNet on its engine."""

    def decoder(self, vae: Vae) -> Run:
        """The VAE's decoder on its engine."""


def unet_example(
    checkpoint: Checkpoint, batch: int, device: torch.device, frames: int = CONTRACT.chunk_frames
) -> tuple[Tensor, ...]:
    """Seeded inputs of the UNet for `batch` chunks: sample [B, 13, F, h, w], timesteps [B], audio [B, F, 50, 384]."""
    generator, size = torch.Generator().manual_seed(0), checkpoint.latent_size
    sample = torch.randn(batch, CONTRACT.sample_channels, frames, size, size, generator=generator)
    audio = torch.randn(batch, frames, *CONTRACT.audio_shape, generator=generator)
    return sample.to(device), torch.full((batch,), _TIMESTEP, device=device), audio.to(device)


def decoder_example(checkpoint: Checkpoint, frames: int, device: torch.device) -> tuple[Tensor, ...]:
    """Seeded inputs of the VAE's decoder: latents [frames, 4, h, w] with the deviation of faces' latents."""
    size = checkpoint.latent_size
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(frames, CONTRACT.latent_channels, size, size, generator=generator).to(device),)


def stages(
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
    engine: Engine,
    served: Served,
    solver: Solver = Solver.DDIM,
    reuse: int = 1,
) -> Iterator[Stage]:
    """The four models; on a GPU, where it is fast, also a chunk from noise to latents and to faces."""
    where, side = str(device), checkpoint.resolution
    generator = torch.Generator().manual_seed(2)
    speech = 0.1 * torch.randn(1, CONTRACT.window_samples, generator=generator)
    pictures = torch.rand(4, 3, side, side, generator=generator) * 2 - 1

    def unet(dtype: torch.dtype, exported: bool) -> Predictor:
        loaded = checkpoint.load_unet(where, dtype)
        return served.unet(loaded) if exported else PlainPredictor(loaded)

    def decoder(dtype: torch.dtype, exported: bool) -> Run:
        vae = checkpoint.load_vae(where, dtype)
        return served.decoder(vae) if exported else FaceDecoder(vae)

    def denoised(dtype: torch.dtype, exported: bool) -> Run:
        return partial(_denoise, unet(dtype, exported), checkpoint.scheduler, solver, reuse if exported else 1)

    def faces(dtype: torch.dtype, exported: bool) -> Run:
        from_noise, decode = denoised(dtype, exported), decoder(dtype, exported)
        return lambda *chunk: decode(from_noise(*chunk).flatten(0, 1))

    products = whisper_dtype(device.type == "cuda", Dtype(str(dtype).removeprefix("torch.")))
    yield Stage(
        "whisper",
        lambda dtype, _: checkpoint.load_whisper(where, dtype),
        (speech.to(device),),
        getattr(torch, products.value),
    )
    yield Stage(
        "vae_encoder", lambda dtype, _: _Encoder(checkpoint.load_vae(where, dtype)), (pictures.to(device),), dtype
    )
    yield Stage(
        "unet",
        lambda dtype, exported: as_function(unet(dtype, exported)),
        unet_example(checkpoint, 1, device),
        dtype,
        engine,
    )
    # Compiled graphs take whole chunks; without them two frames show the same for an eighth of the time.
    frames = 2 if engine is Engine.EAGER else CONTRACT.chunk_frames
    yield Stage("vae_decoder", decoder, decoder_example(checkpoint, frames, device), dtype, engine)
    if device.type == "cuda":
        yield Stage("denoising", denoised, _chunk(checkpoint, device), dtype, engine)
        yield Stage("lipsync", faces, _chunk(checkpoint, device), dtype, engine)


def _chunk(checkpoint: Checkpoint, device: torch.device) -> tuple[Tensor, ...]:
    """Seeded noise [1, 4, h, w], condition [1, 16, 9, h, w] and audio [1, 16, 50, 384] of one chunk."""
    sample, _, audio = unet_example(checkpoint, 1, device)
    latents = CONTRACT.latent_channels
    return sample[:, :latents, 0], sample[:, latents:].transpose(1, 2), audio


def _denoise(predictor: Predictor, scheduler: SchedulerConfig, solver: Solver, reuse: int, *chunk: Tensor) -> Tensor:
    noise, condition, audio = chunk
    steps = scheduler.default_steps
    return denoise(predictor, noise, condition, audio, steps, 1.0, scheduler, solver=solver, reuse=reuse)


@torch.inference_mode()
def measure(stage: Stage) -> StageParity:
    """Runs a stage both ways, one after the other, so that one set of its weights is in memory at a time."""
    reference = stage.run(torch.float32, False)(*stage.inputs).float().cpu()
    result = stage.run(stage.dtype, True)(*stage.inputs).float().cpu()
    difference = (result - reference).abs()
    finite = bool(torch.isfinite(result).all())
    return StageParity(
        stage=stage.name,
        engine=stage.engine.value,
        dtype=str(stage.dtype).removeprefix("torch."),
        max_error=float(difference.max()) if finite else float("nan"),
        relative_error=float(difference.norm() / reference.norm()) if finite else float("nan"),
    )


def table(rows: list[StageParity]) -> str:
    """The measurements as lines of text."""
    wide = max(12, *(len(row.stage) for row in rows))
    lines = [f"{'stage':{wide}} {'engine':8} {'dtype':9} {'max error':>11} {'relative':>11}   (against float32 eager)"]
    lines += [
        f"{row.stage:{wide}} {row.engine:8} {row.dtype:9} {row.max_error:11.2e} {row.relative_error:11.2e}"
        for row in rows
    ]
    return "\n".join(lines)


class _Encoder(nn.Module):
    def __init__(self, vae: Vae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pixels: Tensor) -> Tensor:
        return self.vae.encode(pixels)
