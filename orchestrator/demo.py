"""`demo`: the whole product on the demo avatar, with everything that it needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
from rich.console import Console

from export.fetch import ensure_demo_files
from export.repository import export_repository
from inference.launcher import require_free_ports
from inference.supervisor import TritonSupervisor
from latentsync.motions import motion_names
from orchestrator.avatars.adding import add_avatar, add_avatar_in_terminal, add_motion_of, foreseen, summary
from orchestrator.avatars.motions import MotionOptions
from orchestrator.avatars.prepare import PrepareOptions
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.exclusive import replacing_repository, running_triton, serving
from orchestrator.lan import Invitation, invite, on_lan, welcome
from orchestrator.observability.metrics import triton_restarts
from orchestrator.orchestrator import Orchestrator, open_gate
from orchestrator.server import require_free_address, run_server
from orchestrator.settings import Settings
from orchestrator.triton import triton_options
from processes.stop_signals import StopSignals

Tell = Callable[[str], None]


SECOND = "second"
"""The name of the second presenter's avatar."""


async def demo(
    settings: Settings,
    tell: Tell,
    signals: StopSignals,
    lan: bool = False,
    both: bool = False,
    person: Path | None = None,
) -> None:
    """Fetch, export, start Triton, prepare the avatar, serve; returns after a signal, with everything stopped.

    With `lan` phones of the local network can talk with it: over HTTPS, by a new key. With `both` the second presenter
    is prepared too; `person` is the video of somebody who is shown in place of them.

    Each step is done once: a second start finds its results. Raises what the steps raise, with nothing left running;
    before all of them NoLan, NoKeys, SettingsError or CheckpointError for checkpoints that can't be served together,
    LockRefused where another process works in the data folder, and ServerFailed or TritonLaunchError where a port is
    taken.
    """
    # What is missing or taken is told now, and not after a minute of preparing.
    if lan:
        settings = on_lan(settings)
    else:
        open_gate(settings)
    served = ServedCheckpoints.open(settings)
    for line in foreseen(settings, person, PrepareOptions()) if person is not None else ():
        tell(line)
    with serving(settings, "demo"):
        require_free_address(settings)
        require_free_ports(triton_options(settings))
        invitation = invite(settings) if lan else None  # not before: the key of a demo that runs is in use
        await _prepare_files(settings, served, tell)
        with running_triton(settings, "demo"):
            await _run(settings, tell, signals, invitation, both, person)


async def _run(
    settings: Settings,
    tell: Tell,
    signals: StopSignals,
    invitation: Invitation | None,
    both: bool,
    person: Path | None,
) -> None:
    tell("Starting Triton …")
    triton = TritonSupervisor(triton_options(settings))
    await triton.start()
    try:
        tell("Preparing the avatar …")
        if person is not None:
            await _add_person(settings, person, tell)
        else:
            await _add_presenter(settings, settings.checkpoint_dir / "avatar", settings.avatar, tell)
        if both:
            tell("Preparing the second avatar …")
            await _add_presenter(settings, settings.checkpoint_dir / "second-avatar", SECOND, tell)
        await _serve(settings, triton, signals, lambda: tell(_welcome(settings, invitation)))
    finally:
        signals.ignore()
        tell("Stopping …")
        await triton.aclose()


async def _add_person(settings: Settings, video: Path, tell: Tell) -> None:
    """Somebody's avatar: with how far it is, and what came of it."""
    began = time.monotonic()
    console = Console(stderr=True)
    avatar = await add_avatar_in_terminal(settings, video, settings.avatar, PrepareOptions(), console)
    tell(f"  {summary(avatar, time.monotonic() - began)}")


async def _add_presenter(settings: Settings, folder: Path, name: str, tell: Tell) -> None:
    """The avatar with its motions; a motion that there is, perhaps of another video, stays."""
    avatar = await add_avatar(settings, folder / "idle.mp4", name)
    there = motion_names(avatar.directory)
    videos = sorted((folder / "motions").glob("*.mp4"))
    if missing := [video for video in videos if video.stem not in there]:
        tell("Preparing the avatar's motions …")
        for video in missing:
            await add_motion_of(settings, video, video.stem, MotionOptions(avatar.name))


async def _prepare_files(settings: Settings, served: ServedCheckpoints, tell: Tell) -> None:
    # In threads, so that signals are handled during these steps.
    tell("Checking the files that the demo needs …")
    await asyncio.to_thread(ensure_demo_files, settings.checkpoint_dir.parent)
    tell(f"Exporting {served.names} for Triton …")
    export = partial(
        export_repository,
        settings.checkpoint_dir,
        settings.model_repository,
        further=served.directories[1:],
        cpu_threads=settings.cpu_threads,
        writing=lambda: replacing_repository(settings.model_repository),
    )
    await asyncio.to_thread(export)


async def _serve(
    settings: Settings, triton: TritonSupervisor, signals: StopSignals, started: Callable[[], None]
) -> None:
    orchestrator = Orchestrator(settings)
    triton.restarted = triton_restarts(orchestrator.metrics.registry).inc
    async with anyio.create_task_group() as group:
        group.start_soon(triton.run)
        await run_server(orchestrator, signals, started)
        group.cancel_scope.cancel()


def _welcome_of_motions(settings: Settings, address: str) -> list[str]:
    names = motion_names(settings.avatars_dir / settings.avatar)
    if not names:
        return []
    url = f"{address}/v1/channels/{settings.channel_id}/motions"
    return [f'  Let it act:          curl {url} -d \'{{"name": "{names[0]}"}}\'']


def _welcome_of_the_second(settings: Settings, address: str) -> list[str]:
    if not (settings.avatars_dir / SECOND).is_dir():
        return []
    body = f'{{"channel": "{SECOND}", "avatar": "{SECOND}"}}'
    return [f"  The second avatar:   curl {address}/v1/channels -d '{body}'"]


def _welcome_of_texts(settings: Settings, address: str) -> list[str]:
    if settings.synthesiser == "none":
        return []
    return [f'  Let it say a text:   curl {address}/v1/channels/{settings.channel_id}/say -d \'{{"text": "Hello."}}\'']


def _welcome(settings: Settings, invitation: Invitation | None) -> str:
    if invitation is not None:
        return welcome(invitation)
    address = f"http://{settings.http_host}:{settings.http_port}"
    lines = [
        "",
        f"  The avatar is live:  {address}/",
        f"  Let it speak:        curl -F audio_file=@speech.wav {address}/generate_video",
        *_welcome_of_texts(settings, address),
        *_welcome_of_motions(settings, address),
        *_welcome_of_the_second(settings, address),
    ]
    if settings.rtmp_url is not None:
        lines.append("  Also published to the given RTMP address.")
    return "\n".join([*lines, "  Ctrl-C stops everything.", ""])
