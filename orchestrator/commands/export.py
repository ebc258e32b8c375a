"""`export`: checkpoints as a model repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import (
    CheckpointDir,
    DataDir,
    Device,
    Dtype,
    EngineName,
    Reuse,
    SolverName,
    UnetBatch,
)
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def export(
    checkpoint: CheckpointDir = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a checkpoint served beside it, repeated for more; else further_checkpoints."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Model repository to write; else model_repository in the data folder.")
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    engine: EngineName = "auto",
    solver: SolverName = "ddim",
    reuse: Reuse = 1,
    unet_batch: UnetBatch = None,
    cpu_threads: Annotated[
        int | None, typer.Option(help="Threads that the models on a CPU use together; else one a core.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the model repository of checkpoints, compared with float32 before it replaces the old."""
    settings = settings_or_exit(
        checkpoint_dir=checkpoint,
        further_checkpoints=tuple(also) if also else None,  # typer gives an empty list where none is given
        cpu_threads=cpu_threads,
        data_dir=data_dir,
    )
    from export.repository import export_repository
    from orchestrator.checkpoints import ServedCheckpoints
    from orchestrator.exclusive import replacing_repository

    target = output.absolute() if output else settings.model_repository
    with errors_as_sentences():
        written = export_repository(
            settings.checkpoint_dir,
            target,
            further=ServedCheckpoints.open(settings).directories[1:],
            device=device,
            dtype=dtype,
            cpu_threads=settings.cpu_threads,
            unet_batch=unet_batch,
            engine=engine,
            solver=solver,
            reuse=reuse,
            report=typer.echo,
            writing=lambda: replacing_repository(target),
        )
    typer.echo(f"{target} {'is written' if written else 'was up to date'}")
