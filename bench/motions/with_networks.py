"""Lips across switches as a checkpoint draws them: the avatar is prepared as a server does, and texts are said."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soxr
from hibari import Hibari
from numpy.typing import NDArray

from bench.local_models import LocalModels
from bench.motions.lips import LipsAcross, lips_across
from bench.motions.spoken import SpokenSwitches
from bench.virtual_loop import in_virtual_time
from inference.errors import InferenceError
from latentsync.avatar import PreparedAvatar
from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.landmarks import FaceLandmarker
from latentsync.lip_landmarks import LipLandmarks
from latentsync.sound import SOUND_FRAME_SAMPLES, SOUND_RATE_HZ
from orchestrator.avatars.faces import FaceFinder
from orchestrator.avatars.motions import MotionOptions, add_motion
from orchestrator.avatars.prepare import prepare_avatar
from speech.log import SoundFrames, as_stored
from streaming.config import FPS

_LANDMARKS = "face_landmark.tflite"
_HIBARI_HZ = 24_000
_RATE = 60.0  # frames/s of virtual time
_TEXTS = (
    "Good morning, and welcome back. Before we begin, let me tell you what has happened since we met the last time, "
    "because quite a lot of it will matter today.",
    "The bridge over the river was built by people who had never seen one like it, and it has carried every cart, "
    "every bus and every parade of this town for ninety years.",
    "If you only remember one thing of this talk, make it this: measure before you change anything, write down what "
    "you found, and measure again when you believe that you are done.",
    "We move five big boxes up the hill every Friday, and by the time we are back the baker has put warm bread on the "
    "table, a pot of butter and a jug of fresh milk.",
)


class _InThisThread:
    """The networks where time is virtual: they answer in the loop's own thread, as fast as `_RATE` in its time."""

    def __init__(self, networks: LocalModels) -> None:
        self._networks = networks

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        await asyncio.sleep(0.02)
        return self._networks.heard(window)

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        await asyncio.sleep(len(audio) / _RATE)
        return self._networks.drawn(noise, condition, audio, steps, guidance)

    async def recover(self, error: InferenceError) -> bool:
        return False


def measure_lips(
    checkpoint_dir: Path,
    face_dir: Path,
    idle: Path,
    motions: tuple[Path, ...],
    speeches: int,
    seed: int,
    report: Callable[[str], None],
) -> LipsAcross:
    """Prepare the clips, say so many speeches with a motion each, and compare lips; `face_dir` holds face models.

    Raises CheckpointError, AvatarError, and NoSwitchWithinSpeech.
    """
    checkpoint = Checkpoint.open(checkpoint_dir)
    networks, finder = LocalModels(checkpoint, "cpu"), FaceLandmarker(face_dir)
    scheduler = checkpoint.scheduler
    with tempfile.TemporaryDirectory() as folder:
        report("preparing the clips for the lips")
        avatar = asyncio.run(_prepared(checkpoint, networks, finder, idle, motions, Path(folder)))
        spoken = SpokenSwitches(
            avatar, _InThisThread(networks), scheduler.default_steps, scheduler.default_guidance
        )  # fmt: skip
        windows = in_virtual_time(spoken.windows(_said(Path(folder), speeches), seed, report))
    return lips_across(checkpoint.name, speeches, windows, LipLandmarks(face_dir / _LANDMARKS).openings)


async def _prepared(
    checkpoint: Checkpoint,
    networks: LocalModels,
    finder: FaceFinder,
    idle: Path,
    motions: tuple[Path, ...],
    folder: Path,
) -> PreparedAvatar:
    avatar = await prepare_avatar(idle, "lips", folder, checkpoint, networks, finder)
    for number, video in enumerate(motions):
        options = MotionOptions(avatar.name)
        await add_motion(video, f"motion-{number}", avatar, options, checkpoint, networks, finder)
    return avatar


def _said(folder: Path, speeches: int) -> list[Path]:
    """The texts by turns, as a speech's log holds them; each with a seed of its own."""
    engine, paths = Hibari(threads=1), []
    for number, text in enumerate(islice(cycle(_TEXTS), speeches)):
        spoken = np.asarray(engine(text, seed=number), np.float32)
        count = int(len(spoken) / _HIBARI_HZ * FPS)
        heard, sound = CONTRACT.samples_per_frame, SOUND_FRAME_SAMPLES
        frames = SoundFrames(
            _frames(spoken, heard * FPS, count, heard), _frames(spoken, SOUND_RATE_HZ, count, sound)
        )  # fmt: skip
        paths.append(folder / f"speech-{number}")
        paths[-1].write_bytes(as_stored(frames))
    return paths


def _frames(spoken: NDArray[np.float32], rate_hz: int, count: int, samples: int) -> NDArray[np.int16]:
    sound = np.clip(soxr.resample(spoken, _HIBARI_HZ, rate_hz), -1, 1)[: count * samples]
    padded = np.pad(sound, (0, count * samples - len(sound)))
    return np.asarray(np.rint(padded * 32767), np.int16).reshape(count, samples)
