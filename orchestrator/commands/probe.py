"""`probe`: health checks, and the way to a viewer."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.options import HttpPort
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit

if TYPE_CHECKING:
    from orchestrator.webrtc_probe import StepDone

probe_app = typer.Typer(help="Health checks that do real work; exit 1 with the reason.", no_args_is_help=True)


@probe_app.command("triton")
def probe_triton(
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that the inferences may take together.")] = 20,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to go on trying for.")] = 0,
) -> None:
    """Send silence through every model of a speech; Triton's own readiness doesn't notice a dead one."""
    settings = settings_or_exit()
    from orchestrator.probe import probe_triton as run_probe
    from orchestrator.triton_secret import triton_settings

    with errors_as_sentences():
        triton = triton_settings(settings)
        took_s = asyncio.run(run_probe(triton.url, timeout, wait, partial(typer.echo, err=True), triton.secret))
    typer.echo(f"Triton at {triton.url} made a chunk in {took_s:.2f} s")


@probe_app.command("server")
def probe_server(port: HttpPort = None) -> None:
    """Ask the server on this machine whether it lives."""
    settings = settings_or_exit(http_port=port)
    from orchestrator.probe import probe_server as run_probe

    with errors_as_sentences():
        # Whatever address it listens on, a health check runs beside it.
        typer.echo(run_probe(f"http://127.0.0.1:{settings.http_port}"))


@probe_app.command("webrtc")
def probe_webrtc(
    url: Annotated[str, typer.Argument(envvar="LATENTSYNC_URL", help="The server.")] = "http://127.0.0.1:11001",
    channel: Annotated[str, typer.Option(help="Channel that is watched.")] = "main",
    key: Annotated[str | None, typer.Option(envvar="LATENTSYNC_KEY", help="API key, where one is needed.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until the first picture.")] = 15,
) -> None:
    """Watch a channel over WebRTC as a viewer does; tells the step that fails, and what to do."""
    from orchestrator.speak_client import LiveServer
    from orchestrator.webrtc_probe import probe_webrtc as run_probe

    with errors_as_sentences():
        asyncio.run(run_probe(LiveServer(url, channel, key), timeout, lambda done: typer.echo(_step(done))))


def _step(done: StepDone) -> str:
    return f"{done.after_s:6.2f} s  {done.step.value}" + (f": {done.remark}" if done.remark else "")
