"""`backup` and `restore`: a copy of the data folder, and a data folder out of a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import DataDir
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def backup(
    target: Annotated[Path, typer.Argument(help="New folder, or new file with the ending .tar.")],
    data_dir: DataDir = None,
) -> None:
    """Copy tasks, avatars, channels and keys; the server may run meanwhile. Models are exported again instead."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.backup import back_up

    with errors_as_sentences():
        back_up(settings, target.absolute())
    typer.echo(f"{target} is written; it holds stream keys: keep it as you keep them")


def restore(
    source: Annotated[Path, typer.Argument(help="What `backup` wrote.", exists=True)],
    data_dir: DataDir = None,
) -> None:
    """Fill an empty data folder from a backup; what waited then is said after the next start of `serve`."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.backup import restore as run_restore

    with errors_as_sentences():
        run_restore(settings, source.absolute())
    typer.echo(f"{settings.data_dir} is restored; export the models before `triton` is started")
