"""How far the exported models are from float32 eager ones, stage by stage, on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.checkpoint import Checkpoint
from latentsync.engine import Engine
from latentsync.graphs import Run
from latentsync.serving import CHUNK_FRAMES
from latentsync.vae import FaceDecoder, Vae

WINDOW_SAMPLES = 480_000
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
        """Whether the stage gave numbers at all."""
        return self.max_error < float("inf")  # False for NaN too


@dataclass(frozen=True)
class Stage:
    """A served model, as float32 eager and as it is exported, and inputs for it."""

    name: str
    load: Callable[[torch.dtype], Run]
    wrap: Callable[[Run], Run]
    inputs: tuple[Tensor, ...]
    dtype: torch.dtype
    engine: Engine = Engine.EAGER


def unet_example(checkpoint: Checkpoint, batch: int, device: torch.device) -> tuple[Tensor, ...]:
    """Seeded inputs of the UNet for `batch` chunks: sample [B, 13, 16, h, w], timesteps [B], audio [B, 16, 50, 384]."""
    generator, size = torch.Generator().manual_seed(0), checkpoint.latent_size
    sample = torch.randn(batch, 13, CHUNK_FRAMES, size, size, generator=generator)
    audio = torch.randn(batch, CHUNK_FRAMES, 50, 384, generator=generator)
    return sample.to(device), torch.full((batch,), _TIMESTEP, device=device), audio.to(device)


def decoder_example(checkpoint: Checkpoint, frames: int, device: torch.device) -> tuple[Tensor, ...]:
    """Seeded inputs of the VAE's decoder: latents [frames, 4, h, w] of the spread that faces have."""
    size = checkpoint.latent_size
    return (torch.randn(frames, 4, size, size, generator=torch.Generator().manual_seed(1)).to(device),)


def stages(
    checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, engine: Engine, wrap: Callable[[str, Any], Run]
) -> Iterator[Stage]:
    """The four stages; `wrap` makes what is served of a loaded "unet" or "vae_decoder"."""
    where, side = str(device), checkpoint.resolution
    generator = torch.Generator().manual_seed(2)
    speech = 0.1 * torch.randn(1, WINDOW_SAMPLES, generator=generator)
    pictures = torch.rand(4, 3, side, side, generator=generator) * 2 - 1

    def same(run: Run) -> Run:
        return run

    yield Stage(
        "whisper", lambda dtype: checkpoint.load_whisper(where, dtype), same, (speech.to(device),), torch.float32
    )
    yield Stage(
        "vae_encoder", lambda dtype: _Encoder(checkpoint.load_vae(where, dtype)), same, (pictures.to(device),), dtype
    )
    yield Stage(
        "unet",
        lambda dtype: checkpoint.load_unet(where, dtype),
        lambda run: wrap("unet", run),
        unet_example(checkpoint, 1, device),
        dtype,
        engine,
    )
    yield Stage(
        "vae_decoder",
        lambda dtype: FaceDecoder(checkpoint.load_vae(where, dtype)),
        lambda run: wrap("vae_decoder", run),
        # Compiled graphs take whole chunks; as it is, two frames say the same and cost an eighth.
        decoder_example(checkpoint, 2 if engine is Engine.EAGER else CHUNK_FRAMES, device),
        dtype,
        engine,
    )


@torch.inference_mode()
def measure(stage: Stage) -> StageParity:
    """Runs a stage both ways, one after the other so that only one set of its weights is in memory at a time."""
    reference = stage.load(torch.float32)(*stage.inputs).float().cpu()
    result = stage.wrap(stage.load(stage.dtype))(*stage.inputs).float().cpu()
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
    lines = [f"{'stage':12} {'engine':8} {'dtype':9} {'max error':>11} {'relative':>11}   (against float32 eager)"]
    lines += [
        f"{row.stage:12} {row.engine:8} {row.dtype:9} {row.max_error:11.2e} {row.relative_error:11.2e}" for row in rows
    ]
    return "\n".join(lines)


class _Encoder(nn.Module):
    def __init__(self, vae: Vae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pixels: Tensor) -> Tensor:
        return self.vae.encode(pixels)
