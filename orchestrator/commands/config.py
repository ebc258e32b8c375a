"""`config`: the settings in use."""

from __future__ import annotations

import json

import typer

from orchestrator.commands.terminal import settings_or_exit


def config() -> None:
    """Print every setting as TOML; fails with each wrong value named."""
    settings = settings_or_exit()
    from orchestrator.settings import ENV_PREFIX

    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        typer.echo(f"# {field.description} [{ENV_PREFIX}{name.upper()}]")
        typer.echo(f"{name} = {_as_toml(value)}" if value is not None else f"# {name} =")


def _as_toml(value: object) -> str:
    if isinstance(value, (bool, list, tuple)):
        return json.dumps(value, default=str)  # paths
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_as_toml(each)}" for key, each in value.items()) + "}"
    return str(value) if isinstance(value, (int, float)) else json.dumps(str(value))
