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
CheckpointName = Annotated[
    str | None, typer.Option("--checkpoint", help="Name of the served checkpoint that draws it; else by the video.")
]

# How a model repository is exported; the same for `export` and for the benches that export one.
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; auto takes the GPU where there is one.")]
Dtype = Annotated[str, typer.Option(help="auto, fp16, bf16 or fp32: what the models compute in.")]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="What runs UNet and VAE decoder: fused, eager, compile or aot; auto: fused on a GPU, else eager.",
    ),
]
SolverName = Annotated[str, typer.Option("--solver", help="ddim, or dpm++ for fewer steps; changes the picture.")]
Reuse = Annotated[
    int,
    typer.Option(
        min=1,
        help="Run the UNet's deep layers in each n-th step only; above 1 changes the picture. LatentSync 1.6 uses 3.",
    ),
]
UnetBatch = Annotated[
    int | None, typer.Option(help="Most chunks of one length denoised together; else 4; 1 on a CPU and for 512 pixels.")
]
ModelVersion = Annotated[
    str, typer.Option("--version", help="LatentSync whose size drawn weights have: 1.0, 1.5, 1.6.")
]
