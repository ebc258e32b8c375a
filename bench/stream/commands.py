"""`bench stream`."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.printing import print_criteria
from orchestrator.commands.options_object import takes
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit
from orchestrator.settings import Settings, SettingsError

if TYPE_CHECKING:
    from bench.stream.plan import Plan
    from bench.stream.record import StreamBench

_TEN_MINUTES_S = 600


@dataclass(frozen=True)
class StreamOptions:
    """All options of `bench stream`."""

    duration: Annotated[float, typer.Option(min=60, help="Seconds that the stream is watched.")] = 600
    size: Annotated[str, typer.Option(help="Width and height of the pictures.")] = "832x1248"
    channels: Annotated[int, typer.Option(min=1, max=16, help="Channels at once.")] = 1
    speeches: Annotated[int | None, typer.Option(min=1, help="Speeches; else 20 in 10 minutes.")] = None
    faults: Annotated[bool, typer.Option(help="Kill the RTMP server and the encoder on the way.")] = True
    fault_minutes: Annotated[
        float | None,
        typer.Option(min=0.5, help="A fault each so many minutes, of all kinds in turn; else some kills on the way."),
    ] = None
    bitrate: Annotated[int, typer.Option(min=100, help="Bitrate of the video, kbit/s.")] = 2500
    clip: Annotated[Path | None, typer.Option(help="Video that the avatar is; else the demo's.")] = None
    keep: Annotated[Path | None, typer.Option(help="Folder in which what was received is kept.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False


@takes(StreamOptions)
def bench_stream(options: StreamOptions) -> None:
    """Measure a channel as its viewers see it, through a real RTMP server, with faults; needs nginx-rtmp, no Triton."""
    settings = settings_or_exit()
    with errors_as_sentences():
        record = _measure(settings, options)
    if options.as_json:
        typer.echo(record.to_json())
    else:
        print_criteria(record.criteria)
    if not record.kept:
        raise typer.Exit(1)


def _measure(settings: Settings, options: StreamOptions) -> StreamBench:
    from bench.stream.record import bench_stream as run_bench
    from speech.audio.decoder import ffmpeg_binary

    plan = stream_plan(options)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    clip = options.clip or settings.checkpoint_dir / "avatar" / "idle.mp4"
    ffmpeg = str(settings.ffmpeg or ffmpeg_binary())
    return asyncio.run(run_bench(plan, clip, settings.checkpoint_dir, ffmpeg, options.keep))


def stream_plan(options: StreamOptions) -> Plan:
    """What to run: options that aren't given follow the usual ten minutes, shortened or repeated.

    Raises SettingsError for options that can't be.
    """
    from bench.stream.face_code import MAX_SPEECHES
    from bench.stream.plan import Plan

    match = re.fullmatch(r"([0-9]{2,4})x([0-9]{2,4})", options.size)
    if match is None or int(match[1]) % 2 or int(match[2]) % 2 or int(match[1]) < 192:
        raise SettingsError(f"--size is {options.size!r} and must be even numbers from 192 on, such as 832x1248")
    if options.fault_minutes is not None and not options.faults:
        raise SettingsError("--fault-minutes and --no-faults exclude each other: give one of them")
    shares = options.duration / _TEN_MINUTES_S
    return Plan(
        duration_s=options.duration,
        size=(int(match[1]), int(match[2])),
        channels=options.channels,
        speeches=min(options.speeches or max(4, round(20 * shares)), MAX_SPEECHES - 1),
        interrupts=max(1, round(3 * shares)),
        late_chunks=max(1, round(2 * shares)),
        server_restarts=max(1, round(2 * shares)) if options.faults else 0,
        encoder_kills=max(1, round(shares)) if options.faults else 0,
        fault_minutes=options.fault_minutes,
        video_bitrate_kbps=options.bitrate,
    )
