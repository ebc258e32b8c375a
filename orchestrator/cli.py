"""The command line `latentsync-realtime`. What a command needs is imported when it runs, so that --help is quick."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.access.commands import key_app
from orchestrator.bench.commands import bench_app
from orchestrator.options import (
    Audio,
    AvatarName,
    CheckpointDir,
    DataDir,
    Device,
    Dtype,
    EngineName,
    Guidance,
    Host,
    HttpPort,
    PreparedAvatar,
    Reuse,
    Rtmp,
    SolverName,
    Steps,
    UnetBatch,
)
from orchestrator.terminal import errors_as_sentences as _errors
from orchestrator.terminal import fail as _fail
from orchestrator.terminal import settings_or_exit as _settings

if TYPE_CHECKING:
    from orchestrator.stop_signals import StopSignals

_RUN, _PREPARE, _USE, _LOOK = "Run it", "Prepare", "Use it without a stream", "Look after it"

app = typer.Typer(
    help="A live-streaming server for 2D digital humans: speech in, a talking avatar on the stream out.",
    epilog="Options beat LATENTSYNC_* variables, which beat the file LATENTSYNC_CONFIG; `config` shows all settings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
avatar_app = typer.Typer(help="Avatars: prepare, list and remove them.", no_args_is_help=True)
app.add_typer(avatar_app, name="avatar", rich_help_panel=_PREPARE)
app.add_typer(key_app, name="key", rich_help_panel=_PREPARE)
app.add_typer(bench_app, name="bench", rich_help_panel=_LOOK)


@app.command(rich_help_panel=_RUN, epilog="Example: latentsync-realtime demo --rtmp rtmp://127.0.0.1/live/avatar")
def demo(host: Host = None, port: HttpPort = None, rtmp: Rtmp = None, data_dir: DataDir = None) -> None:
    """Run the whole product on the demo avatar, on the CPU; the first start prepares it, Ctrl-C ends it."""
    # Whoever presses Ctrl-C in a demo doesn't want to hear the speech to its end.
    settings = _settings(http_host=host, http_port=port, rtmp_url=rtmp, data_dir=data_dir, drain_limit_s=0)
    from orchestrator.demo import demo as run_demo
    from orchestrator.logs import log_to_stderr

    log_to_stderr(settings.log_format)
    _run_until_signal(partial(run_demo, settings, typer.echo))


@app.command(rich_help_panel=_RUN)
def serve(host: Host = None, port: HttpPort = None, rtmp: Rtmp = None, data_dir: DataDir = None) -> None:
    """Run the server: HTTP API, page and streams. Triton is run by `triton`, or elsewhere."""
    settings = _settings(http_host=host, http_port=port, rtmp_url=rtmp, data_dir=data_dir)
    from orchestrator.logs import log_to_stderr
    from orchestrator.serving import serve as run_serve

    log_to_stderr(settings.log_format)
    _run_until_signal(partial(run_serve, settings))


@app.command(rich_help_panel=_RUN)
def triton(
    binary: Annotated[
        Path | None, typer.Option(help="tritonserver to run; else the one on PATH, else the embedded one.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Run a tritonserver on the exported model repository, again when it ends or hangs."""
    settings = _settings(triton_binary=binary, data_dir=data_dir)
    from orchestrator.logs import log_to_stderr
    from orchestrator.serving import run_triton

    log_to_stderr(settings.log_format)

    def ready() -> None:
        typer.echo(f"Triton is ready, gRPC at {settings.triton_host}:{settings.triton_grpc_port}")

    _run_until_signal(partial(run_triton, settings, ready))


@app.command(
    rich_help_panel=_PREPARE,
    epilog="Example: latentsync-realtime export --checkpoint checkpoints/latentsync-1.0 --device cuda",
)
def export(
    checkpoint: CheckpointDir = None,
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
    """Write the model repository of a checkpoint, compared with float32 before it replaces the old."""
    settings = _settings(checkpoint_dir=checkpoint, cpu_threads=cpu_threads, data_dir=data_dir)
    from export.repository import export_repository

    target = output or settings.model_repository
    with _errors():
        written = export_repository(
            settings.checkpoint_dir,
            target,
            device=device,
            dtype=dtype,
            cpu_threads=settings.cpu_threads,
            unet_batch=unet_batch,
            engine=engine,
            solver=solver,
            reuse=reuse,
            report=typer.echo,
        )
    typer.echo(f"{target} {'is written' if written else 'was up to date'}")


@app.command(rich_help_panel=_PREPARE)
def fetch(
    bundle: Annotated[str, typer.Argument(help="demo, or latentsync-1.0 for the official weights.")] = "demo",
    checkpoint: CheckpointDir = None,
) -> None:
    """Fetch third-party weights into the checkpoints folder, checked by sha256."""
    settings = _settings(checkpoint_dir=checkpoint)
    from export.fetch import DEMO, ensure_demo_files
    from export.hub import fetch_bundle

    with _errors():
        folder = settings.checkpoint_dir.parent
        if bundle == DEMO:
            paths = ensure_demo_files(folder)
        else:
            # The face models of the demo are needed for every avatar.
            paths = [*ensure_demo_files(folder), *fetch_bundle(folder, bundle, partial(typer.echo, err=True))]
        for path in paths:
            typer.echo(path)


@avatar_app.command("add", epilog="Example: latentsync-realtime avatar add person.mp4 --name person --max-height 1080")
def avatar_add(
    video: Annotated[
        Path, typer.Argument(help="Video of a person who looks at the camera.", exists=True, dir_okay=False)
    ],
    name: Annotated[str, typer.Option(help="Name for the avatar: a-z, 0-9, - and _.")],
    idle: Annotated[
        Path | None, typer.Option(help="Another clip to play while nobody speaks.", exists=True, dir_okay=False)
    ] = None,
    face: Annotated[
        str | None,
        typer.Option(help="Which of several faces: X,Y as shares of width and height, as 0.3,0.4; else the largest."),
    ] = None,
    max_height: Annotated[
        int | None, typer.Option(min=64, help="Scale down to this height in pixels; else as it is.")
    ] = None,
    loop: Annotated[str | None, typer.Option(help="cycle or pingpong: how the clip repeats; else found out.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Prepare an avatar from a video, through the Triton that is running."""
    settings = _settings(data_dir=data_dir)
    from rich.console import Console

    from latentsync.avatar import Loop
    from orchestrator.avatar_commands import add_avatar_in_terminal, face_point, summary
    from orchestrator.avatars.prepare import PrepareOptions

    with _errors():
        try:
            repeats = Loop(loop) if loop else None
        except ValueError:
            _fail(f"--loop is {loop!r} and must be cycle or pingpong")
        options = PrepareOptions(max_height=max_height, loop=repeats, face_at=face_point(face), idle=idle)
        avatar = asyncio.run(add_avatar_in_terminal(settings, video, name, options, Console(stderr=True)))
    typer.echo(summary(avatar))


@avatar_app.command("list")
def avatar_list(data_dir: DataDir = None) -> None:
    """List the prepared avatars."""
    settings = _settings(data_dir=data_dir)
    from orchestrator.avatars.store import list_avatars

    for avatar in list_avatars(settings.avatars_dir):
        width, height = avatar.frame_size
        typer.echo(f"{avatar.name}\t{width}×{height}\t{avatar.frame_count} frames\tfaces of {avatar.resolution}")


@avatar_app.command("preview")
def avatar_preview(
    name: PreparedAvatar,
    output: Annotated[Path, typer.Option(help="Picture to write, .png or .jpg.", dir_okay=False)],
    frame: Annotated[int | None, typer.Option(min=0, help="Frame of the clip; else the first that can speak.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a picture that shows landmarks, face crop and mask on a frame."""
    settings = _settings(data_dir=data_dir)
    from orchestrator.avatar_commands import write_preview

    with _errors():
        write_preview(settings, name, frame, output)


@avatar_app.command("rename")
def avatar_rename(
    name: PreparedAvatar,
    new_name: Annotated[str, typer.Argument(help="Its new name: a-z, 0-9, - and _.")],
    data_dir: DataDir = None,
) -> None:
    """Give a prepared avatar another name."""
    settings = _settings(data_dir=data_dir)
    from orchestrator.avatars.store import rename_avatar

    with _errors():
        rename_avatar(settings.avatars_dir, name, new_name)


@avatar_app.command("remove")
def avatar_remove(name: PreparedAvatar, data_dir: DataDir = None) -> None:
    """Delete a prepared avatar; its video stays where it came from."""
    settings = _settings(data_dir=data_dir)
    from orchestrator.avatars.store import remove_avatar

    with _errors():
        remove_avatar(settings.avatars_dir, name)


@app.command(rich_help_panel=_USE, epilog="Example: latentsync-realtime render --audio speech.wav --output speech.mp4")
def render(
    audio: Audio,
    output: Annotated[Path, typer.Option(help="The mp4 to write.", dir_okay=False)],
    avatar: AvatarName = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise; the same gives the same faces.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """Render a speech into an mp4, through the Triton that is running."""
    settings = _settings(data_dir=data_dir)
    from orchestrator.offline_commands import render_options, render_speech

    with _errors():
        options = render_options(settings, steps, guidance, seed)
        report = asyncio.run(render_speech(settings, avatar or settings.avatar, audio, output, options))
    typer.echo(f"{output}: {report.frames} frames in {report.elapsed_s:.1f} s")


probe_app = typer.Typer(help="Health checks that do real work; exit 1 with the reason.", no_args_is_help=True)
app.add_typer(probe_app, name="probe", rich_help_panel=_LOOK)


@probe_app.command("triton")
def probe_triton(
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that the inferences may take together.")] = 20,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to go on trying for.")] = 0,
) -> None:
    """Send silence through every model of a speech; Triton's own readiness doesn't notice a dead one."""
    settings = _settings()
    from orchestrator.probe import probe_triton as run_probe

    with _errors():
        url = settings.triton_grpc_url
        took_s = asyncio.run(run_probe(url, timeout, wait, partial(typer.echo, err=True)))
    typer.echo(f"Triton at {url} made a chunk in {took_s:.2f} s")


@probe_app.command("server")
def probe_server(port: HttpPort = None) -> None:
    """Ask the server on this machine whether it lives."""
    settings = _settings(http_port=port)
    from orchestrator.probe import probe_server as run_probe

    with _errors():
        # Whatever address it listens on, a health check runs beside it.
        typer.echo(run_probe(f"http://127.0.0.1:{settings.http_port}"))


@app.command(
    rich_help_panel=_LOOK,
    epilog="Example: latentsync-realtime config > my.toml; LATENTSYNC_CONFIG=my.toml latentsync-realtime serve",
)
def config() -> None:
    """Print every setting as TOML; fails with each wrong value named."""
    settings = _settings()
    from orchestrator.settings import ENV_PREFIX

    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        typer.echo(f"# {field.description} [{ENV_PREFIX}{name.upper()}]")
        typer.echo(f"{name} = {_as_toml(value)}" if value is not None else f"# {name} =")


def _as_toml(value: object) -> str:
    if isinstance(value, (bool, list, tuple)):
        return json.dumps(value)
    return str(value) if isinstance(value, (int, float)) else json.dumps(str(value))


def _run_until_signal(work: Callable[[StopSignals], Coroutine[Any, Any, None]]) -> None:
    from orchestrator.stop_signals import run_until_signal

    with _errors():
        asyncio.run(run_until_signal(work))


if __name__ == "__main__":
    app()
