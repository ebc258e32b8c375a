"""The options of `bench gpu`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import (
    CheckpointDir,
    DataDir,
    Device,
    Dtype,
    EngineName,
    Guidance,
    ModelVersion,
    Reuse,
    SolverName,
    Steps,
    UnetBatch,
)

Video = Annotated[
    Path | None, typer.Option(help="Clip that the avatar is made of; else the demo's.", exists=True, dir_okay=False)
]
Speech = Annotated[
    Path | None, typer.Option("--audio", help="Speech; else drawn noise in its rhythm.", exists=True, dir_okay=False)
]
EmulatedGpus = Annotated[
    int | None, typer.Option(min=1, help="So many emulated GPUs in the place of UNet's and decoder's.")
]
EmulatedLike = Annotated[
    Path | None, typer.Option(help="Record of a real one, whose times they take.", exists=True, dir_okay=False)
]
Repository = Annotated[
    Path | None, typer.Option(help="Model repository to measure; else one is exported.", exists=True, file_okay=False)
]


@dataclass(frozen=True)
class GpuOptions:
    """All options of `bench gpu`."""

    repository: Repository = None
    only: Annotated[str | None, typer.Option(help="Some of ensemble,product,live,gpu_memory; else all.")] = None
    clients: Annotated[str, typer.Option(help="Concurrent clients of the ensemble.")] = "1,2,3,4,5,8,16"
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of each load.")] = 8
    repeats: Annotated[int, typer.Option(min=1, help="Speeches of the product stage.")] = 5
    channels: Annotated[str, typer.Option(help="Live channels, more and more until a frame is late.")] = "1,2,4,6,9"
    live_seconds: Annotated[float, typer.Option(min=1, help="Seconds of each number of channels.")] = 20
    speech_seconds: Annotated[float, typer.Option(min=1, help="Length of the speech.")] = 5
    size: Annotated[str | None, typer.Option(help="Pictures of live channels: 480p, 832x1248; else the clip's.")] = None
    audio: Speech = None
    video: Video = None
    full_size: Annotated[bool, typer.Option(help="Draw weights of the official size in the demo's place.")] = False
    version: ModelVersion = "1.0"
    checkpoint: CheckpointDir = None
    device: Device = "auto"
    dtype: Dtype = "auto"
    engine: EngineName = "auto"
    solver: SolverName = "ddim"
    reuse: Reuse = 1
    unet_batch: UnetBatch = None
    steps: Steps = None
    guidance: Guidance = None
    emulated_gpus: EmulatedGpus = None
    emulated_like: EmulatedLike = None
    patience: Annotated[float, typer.Option(min=0.1, help="Times each stage's usual limit.")] = 1
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False
    data_dir: DataDir = None
