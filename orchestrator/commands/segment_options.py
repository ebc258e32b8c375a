"""What the commands `speak` and `say` have in common: where they speak, and what they tell of their segment."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Channel = Annotated[str, typer.Option(help="Channel that says it.")]
Url = Annotated[str, typer.Option(envvar="LATENTSYNC_URL", help="The server.")]
Key = Annotated[str | None, typer.Option(envvar="LATENTSYNC_KEY", help="API key, where one is needed.")]

EXIT_CODES_HELP = (
    "Exits with 0 when all of it was heard, 1 when it failed, 3 when its source was lost, 130 when it was interrupted."
)

_EXIT_CODES = {"completed": 0, "failed": 1, "source_lost": 3, "interrupted": 130}


def exit_code(reason: str) -> int:
    """What the command exits with."""
    return _EXIT_CODES[reason]


def line(message: dict[str, Any], rate_hz: float) -> str:
    """One line for a message of the server, whose samples are counted at that rate."""
    match message["type"]:
        case "accepted":
            return f"accepted  task {message['task_id']}"
        case "started" | "position":
            return f"{message['type']:9} {message['sample'] / rate_hz:.2f} s"
        case "ended":
            heard = message["heard_samples"]
            return f"ended     {heard / rate_hz:.2f} s ({heard} samples) were heard: {message['reason']}"
    return str(message["message"])
