"""`say`: a text, or what standard input brings, is said by a server here or elsewhere."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import typer

from orchestrator.commands.child_output import output_of
from orchestrator.commands.segment_options import Channel, Key, Url, exit_code, line
from orchestrator.commands.terminal import errors_as_sentences

_PIECE_CHARS = 2000


def say(
    text: Annotated[str, typer.Argument(help="What is to be said, or - for standard input.")],
    channel: Channel = "main",
    url: Url = "http://127.0.0.1:11001",
    key: Key = None,
    voice: Annotated[str | None, typer.Option(help="A voice of the server's synthesiser; else the channel's.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.5, max=2.0, help="Pace; 1.0 is the voice's own.")] = None,
) -> None:
    """Say a text, or standard input while it is read; Ctrl-C interrupts it."""
    start = {"format": "text", **({"voice": voice} if voice else {}), **({"rate": rate} if rate else {})}
    with errors_as_sentences():
        reason = asyncio.run(_say(text, channel, url, key, start))
    raise typer.Exit(exit_code(reason))


async def _say(text: str, channel: str, url: str, key: str | None, start: dict[str, Any]) -> str:
    import signal

    from orchestrator.speak_client import LiveServer, speak

    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    rate_hz = 24_000  # the server says it, when it accepts

    def tell(message: dict[str, Any]) -> None:
        nonlocal rate_hz
        rate_hz = message.get("sample_rate", rate_hz)
        typer.echo(line(message, rate_hz), err=message["type"] == "error")

    async with aclosing(_standard_input() if text == "-" else _pieces(text)) as pieces:
        return await speak(LiveServer(url, channel, key), start, pieces, tell, interrupted)


async def _pieces(text: str) -> AsyncGenerator[str, None]:
    for first in range(0, len(text), _PIECE_CHARS):
        yield text[first : first + _PIECE_CHARS]


async def _standard_input() -> AsyncGenerator[str, None]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    async with aclosing(output_of(["cat"])) as blocks:
        async for block in blocks:
            async with aclosing(_pieces(decoder.decode(block))) as pieces:
                async for piece in pieces:
                    yield piece
