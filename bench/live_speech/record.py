"""The record of `bench live-speech`: the curve, on a machine, with a checkpoint and an avatar."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.live_speech.flicker import Flicker
from bench.live_speech.quality import Point, QualityCurve, QualityPlan
from bench.live_speech.speeches import BenchSpeech, recordings, rendered_sentences
from bench.local_models import LocalModels
from bench.machine import Machine, this_machine
from latentsync.lip_landmarks import LipLandmarks
from orchestrator.channels.setup import open_avatar
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.settings import Settings
from speech.audio.decoder import ffmpeg_binary

_LANDMARKS = "face_landmark.tflite"
LONG_SPEECH_S = 120.0


@dataclass(frozen=True)
class QualityRecord:
    """Every point; the likeness is to the faces of the whole speech in chunks of 16, `seconds` of each recording."""

    date: str
    machine: Machine
    device: str
    checkpoint: str
    avatar: str
    steps: int
    guidance: float
    seconds: float
    points: tuple[Point, ...]
    flicker: tuple[Flicker, ...]

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


@dataclass(frozen=True)
class Said:
    """Recordings, a folder of rendered sentences and how many of each group, a long recording; how they are said."""

    recordings: tuple[Path, ...]
    rendered: Path | None
    sentences: int
    long: Path | None
    windows: tuple[str, ...]
    chunk_frames: tuple[int, ...]
    look_ahead_frames: tuple[int, ...]
    seconds: float


async def measure_quality(
    settings: Settings, avatar: str, said: Said, device: str, report: Callable[[str], None]
) -> QualityRecord:
    """Measure all points with the avatar's checkpoint, or the main one where no speech of an avatar is among them.

    Raises SettingsError, CheckpointError, AvatarError, AudioError and NoTruthError.
    """
    served = ServedCheckpoints.open(settings)
    prepared = open_avatar(settings, avatar).with_own_condition() if said.recordings or said.long else None
    checkpoint = served.main if prepared is None else served.of(prepared)
    steps, guidance = checkpoint.scheduler.default_steps, checkpoint.scheduler.default_guidance
    models = LocalModels(checkpoint, device)
    speeches: tuple[BenchSpeech, ...] = ()
    if prepared is not None:
        speeches += recordings(said.recordings, prepared)
    if said.rendered is not None:
        speeches += rendered_sentences(said.rendered, models.condition, said.sentences)
    plan = QualityPlan(speeches, said.windows, said.chunk_frames, said.look_ahead_frames, said.seconds)
    curve = QualityCurve(models, LipLandmarks(settings.checkpoint_dir.parent / "face" / _LANDMARKS), steps, guidance)
    count = 0

    def done(point: Point) -> None:
        nonlocal count
        count += 1
        report(
            f"{count} of {len(plan)}: {point.speech}, {point.window}, chunks of {point.chunk_frames}, "
            f"look-ahead {point.look_ahead_ms} ms: r {point.likeness.r:.3f}, {point.likeness.psnr_db:.1f} dB"
        )

    def stepped(found: Flicker) -> None:
        ratio = "no window began anew" if found.ratio is None else f"{found.ratio:.2f} of the median elsewhere"
        report(f"{found.speech}, {found.window or 'upload'}: steps at {found.joins} joins: {ratio}")

    flicker: list[Flicker] = []
    if said.long is not None and prepared is not None:
        flicker = await curve.flicker(recordings((said.long,), prepared)[0], LONG_SPEECH_S, stepped)
    points = await curve.measure(plan, done)
    return QualityRecord(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=this_machine(ffmpeg_binary()),
        device=device,
        checkpoint=checkpoint.name,
        avatar=avatar,
        steps=steps,
        guidance=guidance,
        seconds=said.seconds,
        points=tuple(points),
        flicker=tuple(flicker),
    )
