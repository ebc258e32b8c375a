"""The curve: lips of a speech that arrives, by look-ahead, chunk and window, beside those of the whole speech.

Where the speech was rendered, so that its true faces are known, live and whole lips are compared with those too.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.live_speech.flicker import Flicker, flicker
from bench.live_speech.lips import Likeness, SeenFaces, likeness
from bench.live_speech.paced_log import PacedLog
from bench.live_speech.remembered import RememberedFeatures
from bench.live_speech.speeches import SILENT_FRAMES, BenchSpeech
from latentsync.lip_landmarks import LipLandmarks
from speech.audio.decoder import DecodeLimits, decode
from speech.audio.frames import FPS
from speech.chunking import ChunkPlan
from speech.generation import GenerationSettings, SpeechGeneration, SpeechModels, SpeechRequest
from speech.live import LiveSettings
from speech.log import LogEnd, SoundFrames, SpeechLog
from speech.timeline import SpeechTimeline
from speech.windows import WindowPolicy, growing_window, short_window

_WINDOWS: dict[str, Callable[[int], WindowPolicy]] = {"growing": growing_window, "short": short_window}


@dataclass(frozen=True)
class Point:
    """One way to hear and cut a live speech, and how its lips compare.

    `likeness` is to the faces of the whole speech; `to_truth` and `whole_to_truth` are those of the live and the whole
    faces to the rendered ones, where there are any.
    """

    speech: str
    group: str
    window: str
    chunk_frames: int
    look_ahead_ms: int
    likeness: Likeness
    to_truth: Likeness | None
    whole_to_truth: Likeness | None


@dataclass(frozen=True)
class QualityPlan:
    """Speeches, and what is tried on each of them; of each speech at most `seconds` are said."""

    speeches: tuple[BenchSpeech, ...]
    windows: tuple[str, ...] = tuple(_WINDOWS)
    chunk_frames: tuple[int, ...] = (4, 8, 16)
    look_ahead_frames: tuple[int, ...] = (0, 1, 2, 3, 5, 7, 10)
    seconds: float = 20.0

    def __len__(self) -> int:
        return len(self.speeches) * len(self.windows) * len(self.chunk_frames) * len(self.look_ahead_frames)


@dataclass(frozen=True)
class _Said:
    """Every face of a speech, and the frames at which a window began anew."""

    faces: NDArray[np.uint8]
    joins: tuple[int, ...]


class QualityCurve:
    """Says speeches on an avatar with a checkpoint's networks, without a stream and faster or slower than real time."""

    def __init__(self, models: SpeechModels, lips: LipLandmarks, steps: int, guidance: float) -> None:
        self._models = models
        self._lips = lips
        self._request = SpeechRequest(seed=0, steps=steps, guidance=guidance)

    async def measure(self, plan: QualityPlan, done: Callable[[Point], None]) -> list[Point]:
        """All points of the plan; `done` is told each. Raises AudioError and CheckpointError's kin.

        The whole takes an hour: cancelled, it returns the points of the speeches that were finished, if there are any.
        """
        found: list[Point] = []
        with tempfile.TemporaryDirectory() as folder:
            for speech in plan.speeches:
                path = Path(folder) / speech.name
                await _write_log(path, speech.path, plan.seconds)
                try:
                    found += await self._curve(plan, speech, path, done)
                except asyncio.CancelledError:
                    if not found:
                        raise
                    break
        return found

    async def _curve(
        self, plan: QualityPlan, speech: BenchSpeech, path: Path, done: Callable[[Point], None]
    ) -> list[Point]:
        found: list[Point] = []
        whole = self._seen((await self._faces(self._models, speech, SpeechLog(path, LogEnd()), self._request)).faces)
        truth = None if speech.truth is None else self._seen(speech.truth)
        whole_to_truth = _to_truth(whole, truth)
        for window in plan.windows:
            models = RememberedFeatures(self._models)
            for chunk_frames, look_ahead_frames in product(plan.chunk_frames, plan.look_ahead_frames):
                request = self._live(window, chunk_frames, look_ahead_frames)
                live = self._seen((await self._faces(models, speech, PacedLog(path), request)).faces)
                found.append(
                    Point(
                        speech.name,
                        speech.group,
                        window,
                        chunk_frames,
                        40 * look_ahead_frames,
                        likeness(live, whole),
                        _to_truth(live, truth),
                        whole_to_truth,
                    )
                )
                done(found[-1])
        return found

    async def flicker(self, speech: BenchSpeech, seconds: float, done: Callable[[Flicker], None]) -> list[Flicker]:
        """Steps where windows meet in a long speech: as an upload, and live by each kind of window at the defaults."""
        found: list[Flicker] = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / speech.name
            await _write_log(path, speech.path, seconds)
            for window in (None, *_WINDOWS):
                if window is None:
                    said = await self._faces(self._models, speech, SpeechLog(path, LogEnd()), self._request)
                else:
                    default = LiveSettings()
                    request = self._live(window, default.chunk_frames, default.look_ahead_frames)
                    said = await self._faces(self._models, speech, PacedLog(path), request)
                found.append(flicker(speech.name, window, said.faces, said.joins))
                done(found[-1])
        return found

    def _live(self, window: str, chunk_frames: int, look_ahead_frames: int) -> SpeechRequest:
        return replace(
            self._request, windows=_WINDOWS[window](look_ahead_frames), chunks=ChunkPlan(steady=chunk_frames)
        )

    def _seen(self, faces: NDArray[np.uint8]) -> SeenFaces:
        return SeenFaces.of(faces, self._lips)

    async def _faces(self, models: SpeechModels, speech: BenchSpeech, log: SpeechLog, request: SpeechRequest) -> _Said:
        timeline = SpeechTimeline(log, SILENT_FRAMES, SILENT_FRAMES)
        # One chunk at a time: the next one is planned, and its sound arrives, when the one before it is made.
        settings = GenerationSettings(chunks_ahead=1)
        generation = SpeechGeneration(models, speech.avatar, timeline, request, settings)
        try:
            async with aclosing(generation.chunks()) as chunks:
                faces = [chunk.faces async for chunk in chunks]
        finally:
            log.close()
        return _Said(np.concatenate(faces), generation.window_joins)


def _to_truth(seen: SeenFaces, truth: SeenFaces | None) -> Likeness | None:
    """Rendered faces begin after the silence before a speech, and a speech may be cut short."""
    if truth is None:
        return None
    said = seen.part(SILENT_FRAMES, SILENT_FRAMES + len(truth.faces))
    return likeness(said, truth.part(0, len(said.faces)))


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
    """A line for each group and way, over its speeches: means of r and PSNR, the amplitudes' range, r to the truth."""
    lines = []
    for group, *way in dict.fromkeys((p.group, p.window, p.chunk_frames, p.look_ahead_ms) for p in points):
        of = [p for p in points if [p.group, p.window, p.chunk_frames, p.look_ahead_ms] == [group, *way]]
        amplitudes = [p.likeness.amplitude for p in of]
        r, psnr_db = np.mean([(p.likeness.r, p.likeness.psnr_db) for p in of], axis=0)
        line = (
            f"{group}, {way[0]}, chunks of {way[1]}, look-ahead {way[2]} ms: r {r:.3f}, "
            f"amplitude {min(amplitudes):.2f}–{max(amplitudes):.2f}, {psnr_db:.1f} dB"
        )
        truth = [(p.to_truth.r, p.whole_to_truth.r) for p in of if p.to_truth and p.whole_to_truth]
        if truth:
            live, whole = np.mean(truth, axis=0)
            line += f"; to the truth r {live:.3f} live, {whole:.3f} whole"
        lines.append(line)
    return lines
