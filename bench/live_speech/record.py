"""The record of `bench live-speech`: the curve, on a machine, with a checkpoint and an avatar."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from bench.live_speech.local_models import LocalModels
from bench.live_speech.quality import Point, QualityCurve, QualityPlan
from bench.machine import Machine, this_machine
from latentsync.checkpoint import Checkpoint
from latentsync.lip_landmarks import LipLandmarks
from orchestrator.channels.setup import open_avatar
from orchestrator.settings import Settings
from speech.audio.decoder import ffmpeg_binary

_LANDMARKS = "face_landmark.tflite"


@dataclass(frozen=True)
class QualityRecord:
    """Every point; the likeness is to the faces of the whole speech in chunks of 16."""

    date: str
    machine: Machine
    device: str
    checkpoint: str
    avatar: str
    steps: int
    guidance: float
    seconds: float
    points: tuple[Point, ...]

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=2)


async def measure_quality(
    settings: Settings, avatar: str, plan: QualityPlan, device: str, report: Callable[[str], None]
) -> QualityRecord:
    """Measure all points of a plan with the settings' checkpoint; raises SettingsError, CheckpointError, AudioError."""
    checkpoint = Checkpoint.open(settings.checkpoint_dir)
    steps, guidance = checkpoint.scheduler.default_steps, checkpoint.scheduler.default_guidance
    curve = QualityCurve(
        LocalModels(checkpoint, device),
        open_avatar(settings, avatar).with_own_condition(),
        LipLandmarks(settings.checkpoint_dir.parent / "face" / _LANDMARKS),
        steps,
        guidance,
    )
    count = 0

    def done(point: Point) -> None:
        nonlocal count
        count += 1
        report(
            f"{count} of {len(plan)}: {point.speech}, {point.window}, chunks of {point.chunk_frames}, "
            f"look-ahead {point.look_ahead_ms} ms: r {point.likeness.r:.3f}, {point.likeness.psnr_db:.1f} dB"
        )

    points = await curve.measure(plan, done)
    return QualityRecord(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=this_machine(ffmpeg_binary()),
        device=device,
        checkpoint=checkpoint.name,
        avatar=avatar,
        steps=steps,
        guidance=guidance,
        seconds=plan.seconds,
        points=tuple(points),
    )
