"""An avatar with motions out of videos, and models that make no faces but note what they were asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceError
from latentsync.avatar import AvatarSettings, PreparedAvatar
from latentsync.avatar_writer import AvatarWriter
from latentsync.contract import CONTRACT
from latentsync.motions import LIKENESS_FILE, MOTION_FILE, MOTIONS_FOLDER, MotionSettings
from latentsync.scheduler import task_noise
from orchestrator.avatars.faces import FaceFinder
from orchestrator.avatars.likeness import differences, ordinary_difference, thumbnails
from orchestrator.avatars.looping import detect_loop
from orchestrator.avatars.video import read_frames
from orchestrator.channels.shared_path import CHUNKS_WITH_MOTIONS
from speech.audio.frames import SilentFrames
from speech.events import SpeechEvent
from speech.live import LiveSettings
from speech.log import SoundFrames, SpeechLog
from speech.pacing import Pace
from speech.request import GenerationSettings, SpokenAvatar, SpokenPath
from speech.source import SpeechSource
from speech.speaking import HEARD_SILENCE_FRAMES, RecoveringModels, SpeechMaker
from speech.urgency import UrgentFirst

_SIDE = 8
_RESOLUTION = _SIDE * CONTRACT.pixels_per_latent
_CURRENT_FEATURE = 4 * 5  # row of a frame's own first feature among its 10 features of 5 layers
_LONGEST = 1500


SILENCE = SilentFrames(before=0, behind=2)
"""Shown around each speech."""


@dataclass(frozen=True)
class Order:
    """A speech that was uploaded."""

    id: str
    seed: int
    source: SpeechSource = SpeechSource.UPLOAD
    steps: int = 1
    guidance: float = 1.0


def speech_maker(models: RecoveringModels, avatar: SpokenAvatar, path: SpokenPath | None = None) -> SpeechMaker:
    """The product's own, on the running loop's time; `path` is given where the sink shows motions."""
    clock, ahead = asyncio.get_running_loop().time, GenerationSettings(CHUNKS_WITH_MOTIONS)
    return SpeechMaker(
        models, avatar, _unheard, SILENCE, clock, ahead, UrgentFirst(4), Pace(), LiveSettings(), path
    )  # fmt: skip


async def _unheard(speech_id: str, event: SpeechEvent) -> None:
    """Nobody keeps account of these speeches."""


class NotingModels:
    """Stands where TritonClient stands: makes `rate` frames/s of the loop's time, and notes each frame's condition.

    A speech is known by its seed. The condition of frame f of clip c holds f and c as its first two numbers.
    """

    def __init__(self, rate: float, speeches: int) -> None:
        self.made: dict[tuple[int, int], tuple[int, int]] = {}
        """The clip's number and frame that each frame of each speech was made for."""
        self._rate = rate
        self._numbers = {task_noise(number, _SIDE).tobytes(): number for number in range(speeches + 1)}

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """Features that hold their own number in each place."""
        await asyncio.sleep(0.02)
        shape = CONTRACT.features_shape(len(window))
        return np.broadcast_to(np.arange(shape[0], dtype=np.float16)[:, None, None], shape).copy()

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        """As many faces of one pixel."""
        await asyncio.sleep(len(audio) / self._rate)
        speech = self._numbers[noise.tobytes()]
        for row, value in zip(condition, audio[:, _CURRENT_FEATURE, 0], strict=True):
            frame, clip = (int(number) for number in row[0, 0, :2])
            self.made.setdefault((speech, int(value) // 2 - HEARD_SILENCE_FRAMES), (clip, frame))
        return np.zeros((len(audio), 1, 1, 3), np.uint8)

    async def recover(self, error: InferenceError) -> bool:
        """Never needed."""
        return False


class QuickLog(SpeechLog):
    """Read at once: in virtual time no thread is waited for."""

    async def read(self, first: int, count: int) -> SoundFrames:
        """As `SpeechLog.read`."""
        return self.read_now(first, count)


def avatar_of(
    idle: Path, motions: list[tuple[str, Path]], directory: Path, finder: FaceFinder | None = None
) -> PreparedAvatar:
    """An avatar with motions, prepared without a VAE; without a finder its face is nowhere in particular."""
    _write_clip(idle, directory, 0, finder)
    avatar = PreparedAvatar.open(directory)
    still = thumbnails(avatar.frame_file)
    for number, (name, video) in enumerate(motions, start=1):
        folder = directory / MOTIONS_FOLDER / name
        _write_clip(video, folder, number, finder, avatar, still)
    return avatar


def _write_clip(
    video: Path,
    folder: Path,
    number: int,
    finder: FaceFinder | None,
    avatar: PreparedAvatar | None = None,
    idle: NDArray[np.float32] | None = None,
) -> None:
    with AvatarWriter(folder) as writer:
        file = writer.frames()
        for frame in islice(read_frames(video, 10 * _LONGEST), _LONGEST):
            file.add(frame)
        frames = file.read()
        pictures, count = thumbnails(frames), len(frames)
        matrix = np.array([[0.5, 0, -_RESOLUTION / 2], [0, 0.5, -_RESOLUTION / 2]])
        condition = np.zeros((count, CONTRACT.condition_channels, _SIDE, _SIDE), np.float16)
        condition[:, 0, 0, 0], condition[:, 0, 0, 1] = np.arange(count), number
        loop = detect_loop([picture.reshape(64, 64) for picture in pictures])
        settings = AvatarSettings(folder.name, *file.size, count, _RESOLUTION, loop, str(video))
        landmarks = None if finder is None else np.stack([_landmarks(finder, frames[i]) for i in range(count)])
        writer.finish(settings, frames[0], matrix[None].repeat(count, axis=0), condition, landmarks)
        if avatar is not None and idle is not None:
            seen = np.full((count, 68, 2), np.nan, np.float32) if landmarks is None else landmarks
            np.save(writer.folder / LIKENESS_FILE, differences(idle, pictures, avatar.landmarks, seen))
            of = MotionSettings(ordinary_difference(idle, pictures), avatar.settings.source_sha256)
            of.write(writer.folder / MOTION_FILE)
        writer.publish()


def _landmarks(finder: FaceFinder, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    faces = finder.detect(frame)
    return faces[0].landmarks.astype(np.float32) if faces else np.full((68, 2), np.nan, np.float32)
