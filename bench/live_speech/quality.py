"""The curve: lips of a speech that arrives, by look-ahead, chunk and window, beside those of the whole speech."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.live_speech.lips import Likeness, likeness
from bench.live_speech.paced_log import PacedLog
from latentsync.avatar import PreparedAvatar
from latentsync.lip_landmarks import LipLandmarks
from speech.audio.decoder import DecodeLimits, decode
from speech.audio.frames import FPS
from speech.chunking import ChunkPlan
from speech.generation import GenerationSettings, SpeechGeneration, SpeechModels, SpeechRequest
from speech.log import LogEnd, SoundFrames, SpeechLog
from speech.timeline import SpeechTimeline
from speech.windows import WindowPolicy, growing_window, short_window

_SILENT_FRAMES = 5
_WINDOWS: dict[str, Callable[[int], WindowPolicy]] = {"growing": growing_window, "short": short_window}


@dataclass(frozen=True)
class Point:
    """One way to hear and cut a live speech, and how its lips compare; `whisper_ms` is the mean of a window."""

    speech: str
    window: str
    chunk_frames: int
    look_ahead_ms: int
    likeness: Likeness
    whisper_ms: float


@dataclass(frozen=True)
class QualityPlan:
    """Speeches, and what is tried on each of them; of each speech at most `seconds` are said."""

    speeches: tuple[Path, ...]
    windows: tuple[str, ...] = tuple(_WINDOWS)
    chunk_frames: tuple[int, ...] = (4, 8, 16)
    look_ahead_frames: tuple[int, ...] = (0, 1, 2, 3, 5, 7, 10)
    seconds: float = 20.0

    def __len__(self) -> int:
        return len(self.speeches) * len(self.windows) * len(self.chunk_frames) * len(self.look_ahead_frames)


class QualityCurve:
    """Says speeches on an avatar with a checkpoint's networks, without a stream and faster or slower than real time."""

    def __init__(
        self, models: SpeechModels, avatar: PreparedAvatar, lips: LipLandmarks, steps: int, guidance: float
    ) -> None:
        self._models = models
        self._avatar = avatar
        self._lips = lips
        self._request = SpeechRequest(seed=0, steps=steps, guidance=guidance)

    async def measure(self, plan: QualityPlan, done: Callable[[Point], None]) -> list[Point]:
        """All points of the plan; `done` is told each. Raises AudioError and CheckpointError's kin."""
        found: list[Point] = []
        with tempfile.TemporaryDirectory() as folder:
            for speech in plan.speeches:
                path = Path(folder) / speech.name
                await _write_log(path, speech, plan.seconds)
                whole, _ = await self._faces(SpeechLog(path, LogEnd()), self._request)
                for point in _points(plan):
                    request = SpeechRequest(
                        self._request.seed,
                        self._request.steps,
                        self._request.guidance,
                        windows=_WINDOWS[point[0]](point[2]),
                        chunks=ChunkPlan(steady=point[1]),
                    )
                    faces, whisper_s = await self._faces(PacedLog(path), request)
                    found_likeness = likeness(self._lips, faces, whole)
                    ms = round(1000 * whisper_s, 1)
                    found.append(Point(speech.name, point[0], point[1], 40 * point[2], found_likeness, ms))
                    done(found[-1])
        return found

    async def _faces(self, log: SpeechLog, request: SpeechRequest) -> tuple[NDArray[np.uint8], float]:
        """Every face of a speech, and the mean seconds of a window."""
        timeline = SpeechTimeline(log, _SILENT_FRAMES, _SILENT_FRAMES)
        # One chunk at a time: the next one is planned, and its sound arrives, when the one before it is made.
        generation = SpeechGeneration(self._models, self._avatar, timeline, request, GenerationSettings(chunks_ahead=1))
        try:
            async with aclosing(generation.chunks()) as chunks:
                faces = [chunk.faces async for chunk in chunks]
        finally:
            log.close()
        return np.concatenate(faces), generation.whisper_mean_s


def _points(plan: QualityPlan) -> Iterator[tuple[str, int, int]]:
    return product(plan.windows, plan.chunk_frames, plan.look_ahead_frames)


async def _write_log(path: Path, speech: Path, seconds: float) -> None:
    log, most = SpeechLog(path), round(FPS * seconds)
    try:
        async with aclosing(decode(speech, DecodeLimits())) as blocks:
            async for block in blocks:
                room = most - log.frames
                await log.append(SoundFrames(block.heard[:room], block.sound[:room]))
                if log.frames == most:
                    break
    finally:
        log.close()


def summary(points: Sequence[Point]) -> list[str]:
    """A line for each way, over all speeches: the lowest r, the amplitudes' range, the lowest PSNR."""
    lines = []
    for way in dict.fromkeys((p.window, p.chunk_frames, p.look_ahead_ms) for p in points):
        of = [p.likeness for p in points if (p.window, p.chunk_frames, p.look_ahead_ms) == way]
        amplitudes = [each.amplitude for each in of]
        lines.append(
            f"{way[0]:8} chunks of {way[1]:2}, look-ahead {way[2]:3} ms: r {min(each.r for each in of):.3f}, "
            f"amplitude {min(amplitudes):.2f}–{max(amplitudes):.2f}, {min(each.psnr_db for each in of):.1f} dB"
        )
    return lines
