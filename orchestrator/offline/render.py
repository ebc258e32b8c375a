"""A speech rendered offline into an mp4: the stream's generation and compositing, without its clock."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from latentsync.avatar import PreparedAvatar
from orchestrator.offline.mp4_writer import Mp4Options, Mp4Writer
from speech.audio.decoder import DecodeLimits, decode
from speech.generation import (
    FaceChunk,
    GenerationSettings,
    GenerationTimings,
    SpeechGeneration,
    SpeechModels,
    SpeechRequest,
)
from speech.log import SpeechLog
from speech.timeline import SpeechTimeline
from streaming.compositor import Compositor

FrameProgress = Callable[[int, int], None]
Clock = Callable[[], float]


@dataclass(frozen=True)
class RenderOptions:
    """How to render: denoising, the seed of the noise, and the file's encoding."""

    steps: int
    guidance: float = 1.0
    seed: int = 0
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    mp4: Mp4Options = field(default_factory=Mp4Options)


@dataclass(frozen=True)
class RenderReport:
    """What was rendered, and the seconds that each stage took; stages overlap, so they may exceed `elapsed_s`."""

    frames: int
    elapsed_s: float
    decode_s: float
    paste_back_s: float
    encode_s: float
    generation: GenerationTimings


async def render(
    avatar: PreparedAvatar,
    audio: Path,
    output: Path,
    models: SpeechModels,
    options: RenderOptions,
    progress: FrameProgress = lambda done, total: None,
    clock: Clock = time.monotonic,
) -> RenderReport:
    """Let `avatar` say the speech in `audio`, from its first frame on, and write `output` as mp4 (H.264, AAC).

    The video lasts as long as the audio, filled up to a whole frame. `progress` is told frames done and in all. Raises
    `AudioError`, `InferenceError`, `EncodingFailed`; then no output is left.
    """
    began = clock()
    with tempfile.TemporaryDirectory() as folder:
        log = SpeechLog(Path(folder) / "speech")
        try:
            async with aclosing(decode(audio, options.limits)) as blocks:
                async for block in blocks:
                    await log.append(block)
            log.seal()
            decoded = clock()
            request = SpeechRequest(options.seed, options.steps, options.guidance)
            generation = SpeechGeneration(models, avatar, SpeechTimeline(log, 0, 0), request, options.generation, clock)
            sound = (await log.read(0, log.frames)).sound
            with Mp4Writer(output, avatar.frame_size, sound, options.mp4) as writer:
                stage = _Compositing(avatar, writer, clock)
                await _draw(generation, stage, log.frames, progress)
        finally:
            log.close()
    return RenderReport(
        frames=log.frames,
        elapsed_s=clock() - began,
        decode_s=decoded - began,
        paste_back_s=stage.paste_back_s,
        encode_s=stage.encode_s,
        generation=generation.timings,
    )


async def _draw(generation: SpeechGeneration, stage: _Compositing, frames: int, progress: FrameProgress) -> None:
    thread, loop = ThreadPoolExecutor(1, "render"), asyncio.get_running_loop()
    try:
        async with aclosing(generation.chunks()) as chunks:
            async for chunk in chunks:
                await loop.run_in_executor(thread, stage.write, chunk)
                progress(chunk.first_frame + len(chunk.faces), frames)
        await loop.run_in_executor(thread, stage.finish)
    finally:
        thread.shutdown(wait=False)


class _Compositing:
    """Chunks of faces in, frames to the writer out, in one thread; measures both."""

    def __init__(self, avatar: PreparedAvatar, writer: Mp4Writer, clock: Clock) -> None:
        self._compositor = Compositor(avatar)
        self._writer = writer
        self._clock = clock
        self._frame: NDArray[np.uint8] = np.empty((avatar.frame_size[1], avatar.frame_size[0], 3), np.uint8)
        self.paste_back_s = 0.0
        self.encode_s = 0.0

    def write(self, chunk: FaceChunk) -> None:
        for offset, face in enumerate(chunk.faces):
            began = self._clock()
            position = chunk.first_frame + offset
            self._compositor.speaking(position, position, face, 1.0, self._frame)
            pasted = self._clock()
            self._writer.write(self._frame)
            self.paste_back_s += pasted - began
            self.encode_s += self._clock() - pasted

    def finish(self) -> None:
        began = self._clock()
        self._writer.finish()
        self.encode_s += self._clock() - began


async def render_in_terminal(
    avatar: PreparedAvatar, audio: Path, output: Path, models: SpeechModels, options: RenderOptions, console: Console
) -> RenderReport:
    """`render` with a progress bar on `console`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(output.name, total=None, rate="")
        began = time.monotonic()

        def show(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - began, 1e-3)
            bar.update(task, completed=done, total=total, rate=f"{rate:.1f} frames/s")

        return await render(avatar, audio, output, models, options, show)
