"""What `bench stream` does with its options."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from bench.stream.face_code import MAX_SPEECHES
from bench.stream.plan import Plan
from bench.stream.record import StreamBench, bench_stream
from orchestrator.settings import Settings, SettingsError
from speech.audio.decoder import ffmpeg_binary

_TEN_MINUTES_S = 600


def measure_stream(
    settings: Settings,
    duration_s: float,
    size: str,
    channels: int,
    speeches: int | None,
    faults: bool,
    fault_minutes: float | None,
    bitrate_kbps: int,
    clip: Path | None,
    keep: Path | None,
) -> StreamBench:
    """Measures the stream of this checkout; what is not given follows the usual ten minutes, shortened or repeated.

    Raises SettingsError for options that can't be, NoRtmpServer, VideoError, UnreadablePart.
    """
    match = re.fullmatch(r"([0-9]{2,4})x([0-9]{2,4})", size)
    if match is None or int(match[1]) % 2 or int(match[2]) % 2 or int(match[1]) < 192:
        raise SettingsError(f"--size is {size!r} and must be even numbers from 192 on, such as 832x1248")
    if fault_minutes is not None and not faults:
        raise SettingsError("--fault-minutes and --no-faults exclude each other: give one of them")
    shares = duration_s / _TEN_MINUTES_S
    plan = Plan(
        duration_s=duration_s,
        size=(int(match[1]), int(match[2])),
        channels=channels,
        speeches=min(speeches or max(4, round(20 * shares)), MAX_SPEECHES - 1),
        interrupts=max(1, round(3 * shares)),
        late_chunks=max(1, round(2 * shares)),
        server_restarts=max(1, round(2 * shares)) if faults else 0,
        encoder_kills=max(1, round(shares)) if faults else 0,
        fault_minutes=fault_minutes,
        video_bitrate_kbps=bitrate_kbps,
    )
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    source = clip or settings.checkpoint_dir / "avatar" / "idle.mp4"
    ffmpeg = str(settings.ffmpeg or ffmpeg_binary())
    return asyncio.run(bench_stream(plan, source, settings.checkpoint_dir, ffmpeg, keep))
