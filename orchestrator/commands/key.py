"""`latentsync-realtime key`: add, list, remove. What they need is imported when they run, so that --help is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.commands.options import DataDir
from orchestrator.commands.terminal import errors_as_sentences, fail, settings_or_exit

key_app = typer.Typer(help="API keys: make, list and remove them; a running server follows.", no_args_is_help=True)


@key_app.command("add", epilog="Example: latentsync-realtime key add prometheus --scope view > metrics_key")
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is: a-z, 0-9, - and _.")],
    scope: Annotated[
        str, typer.Option(help="watch, view, speak or administer; each includes those before it.")
    ] = "speak",
    channel: Annotated[str | None, typer.Option(help="The only channel that the key may watch.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.access.keys import KeyFile, Scope

    try:
        allowed = Scope(scope)
    except ValueError:
        fail(f"--scope is {scope!r} and must be watch, view, speak or administer")
    with errors_as_sentences():
        secret = KeyFile(settings.keys_path).add(name, allowed, channel)
    typer.echo(secret)
    typer.echo("Keep it: it can't be shown again.", err=True)


@key_app.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """List the keys' names and scopes."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.access.keys import KeyFile

    with errors_as_sentences():
        for key in KeyFile(settings.keys_path).all():
            scope = key.scope.value if key.channel is None else f"{key.scope.value} {key.channel}"
            typer.echo(f"{key.name}\t{scope}\t{key.created_at}")


@key_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Whose key it is, as `key list` shows it.")], data_dir: DataDir = None
) -> None:
    """Remove a key; a running server refuses it from its next request on."""
    settings = settings_or_exit(data_dir=data_dir)
    from orchestrator.access.keys import KeyFile

    with errors_as_sentences():
        KeyFile(settings.keys_path).remove(name)
