"""Frames per second of a whole render through Triton, and where the time goes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.machine import Machine, this_machine
from inference.client import StageStatistics, TritonClient
from inference.watched_server import SPEECH_MODELS
from latentsync.avatar import PreparedAvatar
from orchestrator.offline.render import FrameProgress, RenderOptions, render
from speech.audio.decoder import ffmpeg_binary
from speech.audio.frames import FPS

if TYPE_CHECKING:
    from bench.floor import Floor


@dataclass(frozen=True)
class RenderBench:
    """One measured render. `stage_ms_per_frame` is each stage's own time over the frames of the speech.

    Stages run at the same time where there are cores, so they need not add up to the time between frames. `encode` is
    the time spent waiting for ffmpeg, which encodes in its own process. `floor` is None where the networks run on GPUs.
    """

    date: str
    machine: Machine
    triton: str
    avatar: str
    width: int
    height: int
    resolution: int
    steps: int
    guidance: float
    audio_s: float
    frames: int
    elapsed_s: float
    frames_per_s: float
    generation_frames_per_s: float | None
    times_real_time: float
    first_chunk_s: float | None
    stage_ms_per_frame: dict[str, float]
    floor: Floor | None = None

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


async def bench_render(
    avatar: PreparedAvatar,
    audio: Path,
    client: TritonClient,
    options: RenderOptions,
    date: datetime,
    progress: FrameProgress = lambda done, total: None,
) -> RenderBench:
    """Render `audio` into a file that is thrown away, and measure how fast that was, stage by stage.

    The times of the served models are Triton's own counters, so no other client may use it meanwhile. Raises what
    `render` raises.
    """
    before = await client.statistics()
    with tempfile.TemporaryDirectory(prefix="latentsync-bench-") as folder:
        models = client.drawing_with(avatar.settings.checkpoint)
        report = await render(avatar, audio, Path(folder) / "bench.mp4", models, options, progress)
    after = await client.statistics()
    frames, width, height = report.frames, *avatar.frame_size
    seconds = {
        "decode": report.decode_s,
        **{name: _compute_s(after, name) - _compute_s(before, name) for name in SPEECH_MODELS},
        "paste_back": report.paste_back_s,
        "encode": report.encode_s,
    }
    return RenderBench(
        date=date.isoformat(timespec="seconds"),
        machine=this_machine(ffmpeg_binary()),
        triton=await client.server_version(),
        avatar=avatar.name,
        width=width,
        height=height,
        resolution=avatar.resolution,
        steps=options.steps,
        guidance=options.guidance,
        audio_s=frames / FPS,
        frames=frames,
        elapsed_s=round(report.elapsed_s, 3),
        frames_per_s=round(frames / report.elapsed_s, 2),
        generation_frames_per_s=_rounded(report.generation.frames_per_s),
        times_real_time=round(frames / report.elapsed_s / FPS, 3),
        first_chunk_s=_rounded(report.generation.first_chunk_s),
        stage_ms_per_frame={name: round(1000 * value / frames, 3) for name, value in seconds.items()},
    )


def _compute_s(statistics: dict[str, StageStatistics], name: str) -> float:
    return statistics[name].compute_s if name in statistics else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
