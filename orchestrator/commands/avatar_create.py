"""`avatar create`: an avatar from a picture, whose video a service makes."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.options import DataDir
from orchestrator.commands.terminal import errors_as_sentences, fail, settings_or_exit

if TYPE_CHECKING:
    from filming.film import FilmLimits
    from filming.service import FilmOrder, FilmService


def avatar_create(
    image: Annotated[Path, typer.Option(help="Picture of a person, .png, .jpg or .webp.", exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option(help="Name for the avatar: a-z, 0-9, - and _.")],
    prompt: Annotated[
        str, typer.Option(help="What the person does, as: a woman listens and nods, the camera is still.")
    ],
    service: Annotated[
        str | None, typer.Option(help="openai, comfyui or diffusers; else that of the setting film_service.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of services that take one: the same seed, the same video.")] = 0,
    job: Annotated[
        str | None, typer.Option(help="Go on with a job that was begun, as an earlier call named it.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Also keep the video as this file.", dir_okay=False)] = None,
    max_height: Annotated[int | None, typer.Option(min=64, help="Scale down to this height in pixels.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Have a service make a video of a picture, and prepare it, through the Triton that is running."""
    settings = settings_or_exit(data_dir=data_dir, film_service=service)
    from rich.console import Console

    from filming.service import FilmError, FilmOrder
    from latentsync.landmarks import FaceLandmarker
    from orchestrator.avatars.adding import add_avatar_in_terminal, summary
    from orchestrator.avatars.pictures import picture_suffix, require_face
    from orchestrator.avatars.prepare import PrepareOptions
    from orchestrator.exclusive import changing_avatar
    from orchestrator.filming import film_limits, open_film_service

    with errors_as_sentences(), changing_avatar(settings, name), tempfile.TemporaryDirectory() as folder:
        makes = open_film_service(settings)
        if makes is None:
            fail("no service makes videos: set film_service, or name one with --service openai, comfyui or diffusers")
        picture = Path(folder) / f"picture{picture_suffix(image)}"
        picture.write_bytes(image.read_bytes())
        require_face(picture, FaceLandmarker(settings.checkpoint_dir.parent / "face"))
        video = Path(folder) / "video.mp4"
        began = time.monotonic()
        try:
            asyncio.run(_filmed(makes, FilmOrder(picture, prompt, seed), job, video, film_limits(settings)))
        except FilmError as error:
            fail(error.message)
        if keep is not None:
            keep.write_bytes(video.read_bytes())
        options = PrepareOptions(max_height=max_height)
        avatar = asyncio.run(add_avatar_in_terminal(settings, video, name, options, Console(stderr=True)))
    typer.echo(summary(avatar, time.monotonic() - began))


async def _filmed(service: FilmService, order: FilmOrder, job: str | None, into: Path, limits: FilmLimits) -> None:
    from filming.film import filmed
    from filming.service import FilmProgress

    def tell(progress: FilmProgress) -> None:
        share = "" if progress.share is None else f" {progress.share:.0%}"
        typer.echo(f"the video is being made{share}", err=True)

    try:
        if job is None:
            job = await service.begin(order)
            if service.outlives_server:
                typer.echo(f"ordered: --job {job} goes on with it where this is cut off", err=True)
        await filmed(service, job, into, limits, tell, time.monotonic)
    finally:
        await service.aclose()
