"""`avatar create`: an avatar of a person who comes with a checkpoint, or of a picture that a service films."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.options import CheckpointName, DataDir
from orchestrator.commands.terminal import errors_as_sentences, fail, settings_or_exit

if TYPE_CHECKING:
    from filming.film import FilmLimits
    from filming.service import FilmOrder, FilmService
    from orchestrator.avatars.prepare import PrepareOptions
    from orchestrator.settings import Settings


def avatar_create(
    image: Annotated[
        Path | None, typer.Option(help="Picture of a person, .png, .jpg or .webp.", exists=True, dir_okay=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name for the avatar, or for the motion: a-z, 0-9, - and _.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="What the person does, as: a woman listens and nods, the camera is still.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A person who comes with a checkpoint, in place of a picture; ? lists them.")
    ] = None,
    motion_of: Annotated[str | None, typer.Option(help="Make it a motion of this avatar, of the same person.")] = None,
    service: Annotated[
        str | None, typer.Option(help="openai, comfyui or diffusers; else that of the setting film_service.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of services that take one: the same seed, the same video.")] = 0,
    job: Annotated[
        str | None, typer.Option(help="Go on with a job that was begun, as an earlier call named it.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Also keep the video as this file.", dir_okay=False)] = None,
    max_height: Annotated[int | None, typer.Option(min=64, help="Scale down to this height in pixels.")] = None,
    checkpoint: CheckpointName = None,
    data_dir: DataDir = None,
) -> None:
    """Prepare an avatar of a person who comes with a checkpoint, or have a service film a picture."""
    settings = settings_or_exit(data_dir=data_dir, film_service=service)
    if preset is not None:
        if image is not None or prompt is not None or motion_of is not None:
            fail("--preset needs no picture: leave --image, --prompt and --motion-of out")
        _create_preset(settings, preset, name or preset, max_height, checkpoint)
        return
    if image is None or prompt is None or name is None:
        fail("give --image, --prompt and --name, or --preset with a person who comes with a checkpoint")
    from filming.service import FilmError, FilmOrder
    from latentsync.landmarks import FaceLandmarker
    from orchestrator.avatars.motions import require_no_motion
    from orchestrator.avatars.pictures import picture_suffix, require_face
    from orchestrator.avatars.prepare import PrepareOptions
    from orchestrator.avatars.store import find_avatar
    from orchestrator.checkpoints import ServedCheckpoints
    from orchestrator.exclusive import changing_avatar
    from orchestrator.filming import film_limits, open_film_service

    if motion_of is not None and (max_height, checkpoint) != (None, None):
        fail("a motion has the size and the checkpoint of its avatar: leave --max-height and --checkpoint out")
    with errors_as_sentences(), changing_avatar(settings, motion_of or name), tempfile.TemporaryDirectory() as folder:
        makes = open_film_service(settings)
        if makes is None:
            fail("no service makes videos: set film_service, or name one with --service openai, comfyui or diffusers")
        person = None if motion_of is None else find_avatar(settings.avatars_dir, motion_of)
        if person is not None:
            require_no_motion(person.directory, name)
        if checkpoint is not None:
            ServedCheckpoints.open(settings).require(checkpoint)  # before anything is paid
        picture = Path(folder) / f"picture{picture_suffix(image)}"
        picture.write_bytes(image.read_bytes())
        require_face(picture, FaceLandmarker(settings.checkpoint_dir.parent / "face"), person)
        video = Path(folder) / "video.mp4"
        began = time.monotonic()
        try:
            asyncio.run(_filmed(makes, FilmOrder(picture, prompt, seed), job, video, film_limits(settings)))
        except FilmError as error:
            fail(error.message)
        if keep is not None:
            keep.write_bytes(video.read_bytes())
        options = PrepareOptions(max_height=max_height, checkpoint=checkpoint)
        made = _prepared(settings, video, name, motion_of, options, began)
    typer.echo(made)


def _create_preset(settings: Settings, preset: str, name: str, max_height: int | None, checkpoint: str | None) -> None:
    from orchestrator.avatars.prepare import PrepareOptions
    from orchestrator.avatars.presets import preset_clip, presets
    from orchestrator.checkpoints import ServedCheckpoints
    from orchestrator.exclusive import changing_avatar

    with errors_as_sentences():
        served = ServedCheckpoints.open(settings)
        if preset == "?":
            typer.echo("\n".join(presets(served)))
            return
        clip = preset_clip(served, preset)
        options = PrepareOptions(max_height=max_height, checkpoint=checkpoint)
        with changing_avatar(settings, name):
            made = _prepared(settings, clip, name, None, options, time.monotonic())
    typer.echo(made)


def _prepared(
    settings: Settings, video: Path, name: str, motion_of: str | None, still: PrepareOptions, began: float
) -> str:
    """What to say of the avatar, or the motion, that the video has become."""
    from rich.console import Console

    from orchestrator.avatars import adding
    from orchestrator.avatars.motions import MotionOptions

    console = Console(stderr=True)
    if motion_of is not None:
        options = MotionOptions(motion_of)
        motion = asyncio.run(adding.add_motion_in_terminal(settings, video, name, options, console))
        return adding.motion_summary(motion, time.monotonic() - began)
    avatar = asyncio.run(adding.add_avatar_in_terminal(settings, video, name, still, console))
    return adding.summary(avatar, time.monotonic() - began)


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
