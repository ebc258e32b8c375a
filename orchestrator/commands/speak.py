"""`speak`: a file or a microphone's pipe is said live, by a server here or elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.commands.child_output import output_of
from orchestrator.commands.segment_options import Channel, Key, Url, exit_code, line
from orchestrator.commands.terminal import errors_as_sentences, fail

_DECODED_HZ = 48_000


def speak(
    file: Annotated[str, typer.Argument(help="A file in any format that ffmpeg reads, or - for standard input.")],
    channel: Channel = "main",
    url: Url = "http://127.0.0.1:11001",
    key: Key = None,
    rate: Annotated[
        int | None, typer.Option(min=8000, max=48000, help="It is raw PCM (s16le) with so many samples a second.")
    ] = None,
    channels: Annotated[int, typer.Option(min=1, max=2, help="Channels of raw PCM.")] = 1,
) -> None:
    """Say a file or standard input while it is read; Ctrl-C interrupts it."""
    if file != "-" and not Path(file).is_file():
        fail(f"there is no file {file}")
    with errors_as_sentences():
        reason = asyncio.run(_speak(file, channel, url, key, rate, channels))
    raise typer.Exit(exit_code(reason))


async def _speak(file: str, channel: str, url: str, key: str | None, rate: int | None, channels: int) -> str:
    import signal

    from orchestrator.speak_client import LiveServer
    from orchestrator.speak_client import speak as speak_live

    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    rate_hz = rate or _DECODED_HZ
    start = {"sample_rate": rate_hz, "channels": channels if rate else 1, "format": "s16le"}

    def tell(message: dict[str, Any]) -> None:
        typer.echo(line(message, rate_hz), err=message["type"] == "error")

    sound = output_of(_decoding(file) if rate is None else ["cat", "--", file])
    async with aclosing(sound):
        return await speak_live(LiveServer(url, channel, key), start, sound, tell, interrupted)


def _decoding(file: str) -> list[str]:
    from speech.audio.decoder import ffmpeg_binary

    source = ["-i", "pipe:0"] if file == "-" else ["-nostdin", "-i", f"file:{file}"]
    output = ["-map", "0:a:0", "-ac", "1", "-ar", str(_DECODED_HZ), "-flush_packets", "1", "-f", "s16le", "pipe:1"]
    return [ffmpeg_binary(), "-hide_banner", "-loglevel", "error", *source, *output]
