"""`speak`: a file or a microphone's pipe is said live, by a server here or elsewhere."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.commands.terminal import errors_as_sentences, fail

_EXIT_CODES = {"completed": 0, "failed": 1, "source_lost": 3, "interrupted": 130}
_BLOCK_BYTES = 9_600  # 100 ms at 48 kHz
_DECODED_HZ = 48_000


def speak(
    file: Annotated[str, typer.Argument(help="A file in any format that ffmpeg reads, or - for standard input.")],
    channel: Annotated[str, typer.Option(help="Channel that says it.")] = "main",
    url: Annotated[str, typer.Option(envvar="LATENTSYNC_URL", help="The server.")] = "http://127.0.0.1:11001",
    key: Annotated[str | None, typer.Option(envvar="LATENTSYNC_KEY", help="API key, where one is needed.")] = None,
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
    raise typer.Exit(_EXIT_CODES[reason])


async def _speak(file: str, channel: str, url: str, key: str | None, rate: int | None, channels: int) -> str:
    import signal

    from orchestrator.speak_client import LiveServer
    from orchestrator.speak_client import speak as speak_live

    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    start = {"sample_rate": rate or _DECODED_HZ, "channels": channels if rate else 1, "format": "s16le"}

    def tell(message: dict[str, Any]) -> None:
        typer.echo(_line(message, start["sample_rate"]), err=message["type"] == "error")

    sound = _output_of(_decoding(file) if rate is None else ["cat", "--", file])
    async with aclosing(sound):
        return await speak_live(LiveServer(url, channel, key), start, sound, tell, interrupted)


def _line(message: dict[str, Any], rate_hz: Any) -> str:
    match message["type"]:
        case "accepted":
            return f"accepted  task {message['task_id']}"
        case "started" | "position":
            return f"{message['type']:9} {message['sample'] / rate_hz:.2f} s"
        case "ended":
            heard = message["heard_samples"]
            return f"ended     {heard / rate_hz:.2f} s ({heard} samples) were heard: {message['reason']}"
    return str(message["message"])


def _decoding(file: str) -> list[str]:
    from speech.audio.decoder import ffmpeg_binary

    source = ["-i", "pipe:0"] if file == "-" else ["-nostdin", "-i", f"file:{file}"]
    output = ["-map", "0:a:0", "-ac", "1", "-ar", str(_DECODED_HZ), "-flush_packets", "1", "-f", "s16le", "pipe:1"]
    return [ffmpeg_binary(), "-hide_banner", "-loglevel", "error", *source, *output]


async def _output_of(command: list[str]) -> AsyncGenerator[bytes, None]:
    """What a child writes: its standard input may block for ever, as no thread of ours could."""
    # In a session of its own: Ctrl-C is for the speech, whose end is still to be told.
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        while block := await process.stdout.read(_BLOCK_BYTES):
            yield block
        await process.wait()  # not killed: kill() would take its exit status from asyncio's watcher
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):  # it may have ended already
                process.kill()
        await process.communicate()
