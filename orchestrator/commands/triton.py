"""`triton`: the tritonserver."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import DataDir
from orchestrator.commands.terminal import run_until_signal, settings_or_exit


def triton(
    binary: Annotated[
        Path | None, typer.Option(help="tritonserver to run; else the one on PATH, else the embedded one.")
    ] = None,
    without_secret: Annotated[
        bool, typer.Option(help="Let every local user in: for perf_analyzer, which can't send the secret over gRPC.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Run a tritonserver on the exported model repository, again when it ends or hangs."""
    settings = settings_or_exit(triton_binary=binary, data_dir=data_dir)
    from orchestrator.observability.logs import log_to_stderr
    from orchestrator.triton import run_triton

    log_to_stderr(settings.log_format)

    def ready() -> None:
        typer.echo(f"Triton is ready, gRPC at {settings.triton_host}:{settings.triton_grpc_port}")

    run_until_signal(partial(run_triton, settings, ready, protected=not without_secret))
