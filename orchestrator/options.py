"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Host = Annotated[str | None, typer.Option(help="Address that the HTTP server listens on.")]
HttpPort = Annotated[int | None, typer.Option(help="Port of the HTTP server.")]
Rtmp = Annotated[str | None, typer.Option(help="Publish the stream here, rtmp:// or rtmps://.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder for everything that is written.")]
AvatarName = Annotated[str | None, typer.Option(help="Name of a prepared avatar; else the channel's.")]
Audio = Annotated[Path, typer.Option(help="Speech.", exists=True, dir_okay=False)]
Steps = Annotated[int | None, typer.Option(min=1, help="Denoising steps; else the checkpoint's own.")]
Guidance = Annotated[float | None, typer.Option(min=1, help="Guidance scale; else the checkpoint's own.")]
CheckpointDir = Annotated[Path | None, typer.Option("--checkpoint", help="Checkpoint folder.")]
