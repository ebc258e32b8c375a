"""The command line `latentsync-realtime`: every command of the rooms, joined. `--help` imports nothing heavy."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from bench.commands import bench_app
from orchestrator.commands.avatar import avatar_app
from orchestrator.commands.backup import backup, restore
from orchestrator.commands.config import config
from orchestrator.commands.demo import demo
from orchestrator.commands.export import export
from orchestrator.commands.fetch import fetch
from orchestrator.commands.key import key_app
from orchestrator.commands.ledger import ledger
from orchestrator.commands.probe import probe_app
from orchestrator.commands.render import render
from orchestrator.commands.say import say
from orchestrator.commands.segment_options import EXIT_CODES_HELP
from orchestrator.commands.serve import serve
from orchestrator.commands.speak import speak
from orchestrator.commands.triton import triton

_RUN, _PREPARE, _USE, _LOOK = "Run it", "Prepare", "Use it without a stream", "Look after it"

app = typer.Typer(
    help="A live-streaming server for 2D digital humans: speech in, a talking avatar on the stream out.",
    epilog="Options beat LATENTSYNC_* variables, which beat the file LATENTSYNC_CONFIG; `config` shows all settings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"latentsync-realtime {version('latentsync-realtime')}")
        raise typer.Exit


@app.callback()
def _options_of_the_program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command(rich_help_panel=_RUN, epilog="Example: latentsync-realtime demo --rtmp rtmp://127.0.0.1/live/avatar")(demo)
app.command(rich_help_panel=_RUN)(serve)
app.command(rich_help_panel=_RUN)(triton)
app.command(
    rich_help_panel=_PREPARE,
    epilog="Example: latentsync-realtime export --checkpoint checkpoints/latentsync-1.0 --device cuda",
)(export)
app.command(rich_help_panel=_PREPARE)(fetch)
app.add_typer(avatar_app, name="avatar", rich_help_panel=_PREPARE)
app.add_typer(key_app, name="key", rich_help_panel=_PREPARE)
app.command(rich_help_panel=_USE, epilog="Example: latentsync-realtime render --audio speech.wav --output speech.mp4")(
    render
)
app.command(
    rich_help_panel=_RUN,
    epilog=f"Example: arecord -f S16_LE -r 48000 | latentsync-realtime speak - --rate 48000. {EXIT_CODES_HELP}",
)(speak)
app.command(rich_help_panel=_LOOK, epilog="Example: latentsync-realtime ledger --channel main")(ledger)
app.command(
    rich_help_panel=_RUN,
    epilog=f"Example: latentsync-realtime say 'Good morning.' --channel main. {EXIT_CODES_HELP}",
)(say)
app.add_typer(probe_app, name="probe", rich_help_panel=_LOOK)
app.command(
    rich_help_panel=_LOOK,
    epilog="Example: latentsync-realtime config > my.toml; LATENTSYNC_CONFIG=my.toml latentsync-realtime serve",
)(config)
app.command(rich_help_panel=_LOOK, epilog="Example: latentsync-realtime backup /backups/2026-01-31.tar")(backup)
app.command(rich_help_panel=_LOOK, epilog="Example: latentsync-realtime restore backup.tar --data-dir new")(restore)
app.add_typer(bench_app, name="bench", rich_help_panel=_LOOK)


if __name__ == "__main__":
    app()
