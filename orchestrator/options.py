"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Host = Annotated[
    str | None, typer.Option(help="Address that the HTTP server listens on; else 127.0.0.1. Another needs API keys.")
]
HttpPort = Annotated[int | None, typer.Option(help="Port of the HTTP server; else 11001.")]
Rtmp = Annotated[str | None, typer.Option(help="Publish the stream here too, as rtmp://host/app/key or rtmps://…")]
PreparedAvatar = Annotated[str, typer.Argument(help="Name of the prepared avatar, as `avatar list` shows it.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of models, avatars, tasks, keys and logs; else ./var.")]
AvatarName = Annotated[str | None, typer.Option(help="Name of a prepared avatar; else demo.")]
Audio = Annotated[Path, typer.Option(help="Speech: wav, mp3, m4a, ogg, flac or webm.", exists=True, dir_okay=False)]
Steps = Annotated[int | None, typer.Option(min=1, help="Denoising steps; else the checkpoint's own.")]
Guidance = Annotated[float | None, typer.Option(min=1, help="Guidance scale; else the checkpoint's own.")]
CheckpointDir = Annotated[
    Path | None, typer.Option("--checkpoint", help="Folder of the checkpoint; else checkpoints/demo.")
]
