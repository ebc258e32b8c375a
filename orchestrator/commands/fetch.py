"""`fetch`: third-party weights."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from orchestrator.commands.options import CheckpointDir
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def fetch(
    bundle: Annotated[
        str, typer.Argument(help="demo, or latentsync-1.0, -1.5 or -1.6 for the official weights.")
    ] = "demo",
    checkpoint: CheckpointDir = None,
) -> None:
    """Fetch third-party weights into the checkpoints folder, checked by sha256."""
    settings = settings_or_exit(checkpoint_dir=checkpoint)
    from export.fetch import DEMO, ensure_demo_files
    from export.hub import fetch_bundle

    with errors_as_sentences():
        folder = settings.checkpoint_dir.parent
        if bundle == DEMO:
            paths = ensure_demo_files(folder)
        else:
            # The face models of the demo are needed for every avatar.
            paths = [*ensure_demo_files(folder), *fetch_bundle(folder, bundle, partial(typer.echo, err=True))]
        for path in paths:
            typer.echo(path)
