"""A video of a person made into an avatar, once for each video and VAE."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Protocol

import anyio
import numpy as np
from numpy.typing import NDArray

from latentsync.alignment import crop_face, face_matrix
from latentsync.avatar import AvatarError, AvatarSettings, IdleSettings, Loop, PreparedAvatar
from latentsync.avatar_files import IDLE_FOLDER, FrameFile
from latentsync.avatar_writer import AvatarWriter, FrameWriter
from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from orchestrator.avatars.condition import FaceEncoder, face_condition
from orchestrator.avatars.errors import AvatarInUse, VideoError
from orchestrator.avatars.faces import FaceFinder
from orchestrator.avatars.fingerprint import preparation_sha256
from orchestrator.avatars.fit import FaceDecoder, measured_fit_db, sampled_rows
from orchestrator.avatars.looping import detect_loop, thumbnail
from orchestrator.avatars.room import DiskRoom, expected_bytes
from orchestrator.avatars.store import avatar_directory
from orchestrator.avatars.tracking import FaceTracker, Track
from orchestrator.avatars.video import read_frames, video_info, without_still_ends

# How far an idle clip's shape may differ from the speaking clip's before it would look stretched.
_ASPECT_TOLERANCE = 0.02


class Step(StrEnum):
    """What a preparation is at; progress counts frames of each, in this order."""

    IDLE = "reading the idle clip"
    TRACKING = "finding the face"
    ENCODING = "encoding faces"


class FaceCoder(FaceEncoder, FaceDecoder, Protocol):
    """Both halves of the served VAE; `TritonClient` is one."""


Examine = Callable[[Path, Track, FrameFile], None]
"""Told the folder, where the face is, and the frames; called from another thread."""

Progress = Callable[[Step, int, int | None], None]
"""Told the step, frames done, and frames in all where that is known; called from another thread."""


@dataclass(frozen=True)
class PrepareOptions:
    """Longest clip in frames, greatest height in pixels (None: as it is), and how it repeats (None: detected).

    `face_at` names one of several faces by a point near it, as shares of the picture's width and height; `idle` is a
    clip of its own that plays while nobody speaks. `size` (width, height) is what the pictures are scaled to, and must
    have the same shape; of the clip only the frames from `first` to `last`, inclusive, are taken. `checkpoint` names
    the served one that is to draw it (None: the one that fits the video), for who prepares it.
    """

    max_frames: int = 1500
    max_height: int | None = None
    loop: Loop | None = None
    face_at: tuple[float, float] | None = None
    idle: Path | None = None
    size: tuple[int, int] | None = None
    first: int = 0
    last: int | None = None
    checkpoint: str | None = None


async def prepare_avatar(
    video: Path,
    name: str,
    directory: Path,
    checkpoint: Checkpoint,
    coder: FaceCoder,
    finder: FaceFinder,
    options: PrepareOptions | None = None,
    progress: Progress = lambda step, done, total: None,
    in_use: Callable[[], bool] = lambda: False,
    room: DiskRoom | None = None,
    examine: Examine = lambda folder, track, frames: None,
    made_for: str | None = None,
) -> PreparedAvatar:
    """Make `directory`/`name` from a video of a face, or open it where the same was made before.

    Decodes the video once, into the new folder, and holds a few frames at a time. The folder appears complete or not at
    all. `in_use` says at the end whether a channel plays the avatar that would be replaced. `examine` sees the clip
    before its faces are encoded, and may add files to the folder or raise; what it does depends on `made_for`. Raises
    `VideoError`, `NoFace`, `FaceTooSmall`, `FaceTurned`, `AvatarTooLarge`, `NoRoomForAvatar`, `AvatarInUse`,
    `AvatarError` for a bad name, and `InferenceError`.
    """
    options, room = options or PrepareOptions(), room or DiskRoom()
    target = avatar_directory(directory, name)
    videos = [video, *([options.idle] if options.idle is not None else [])]
    for path in videos:
        if not await asyncio.to_thread(path.is_file):
            raise VideoError(f"{path}: there is no such file")
    settings: list[object] = [options.max_height, options.loop, options.face_at]
    if made_for is not None:
        settings += [made_for, options.size, options.first, options.last]
    sha256 = await asyncio.to_thread(preparation_sha256, videos, checkpoint, settings)
    made = await asyncio.to_thread(_made_before, target, sha256)
    if made is not None:
        return made
    await asyncio.to_thread(require_room, video, options, directory, room)
    stopped = Event()
    preparation = _Preparation(video, options, checkpoint.name, checkpoint.resolution, finder, progress, room, stopped)
    # One thread runs all steps, so that the folder is removed after the step that still writes to it.
    thread = ThreadPoolExecutor(1, "avatar")
    run = partial(asyncio.get_running_loop().run_in_executor, thread)
    writer = await run(AvatarWriter, target)
    try:
        track, frames = await run(preparation.track, writer)
        await run(examine, writer.folder, track, frames)
        condition, fit_db = await _encode(track, frames, preparation, coder, run, progress)
        await run(preparation.finish, writer, name, sha256, track, frames, condition, fit_db)
        # On the loop, and without waiting in between: no channel can begin to play it meanwhile.
        if in_use():
            raise AvatarInUse(name)
        writer.publish()
    finally:
        stopped.set()
        with anyio.CancelScope(shield=True):
            await run(writer.__exit__, None, None, None)
        thread.shutdown(wait=False)
    return await asyncio.to_thread(PreparedAvatar.open, target)


def same_shape(video: Path, size: tuple[int, int], what: str) -> tuple[int, int]:
    """The size (width, height) itself; raises VideoError where the video's pictures have another shape."""
    frames = read_frames(video, sys.maxsize)
    first = next(frames)
    frames.close()
    height, width, _ = first.shape
    if abs((width / height) / (size[0] / size[1]) - 1) > _ASPECT_TOLERANCE:
        raise VideoError(
            f"{video.name} is {width}×{height} and the avatar {size[0]}×{size[1]}: the {what} must have the same "
            "shape, crop or pad it"
        )
    return size


def require_room(video: Path, options: PrepareOptions, directory: Path, room: DiskRoom) -> None:
    """Raises AvatarTooLarge or NoRoomForAvatar for a video that needs more than there is, by what its headers say."""
    idle = None if options.idle is None else video_info(options.idle)
    room.require(directory, 0, expected_bytes(video_info(video), idle, options.max_frames, options.max_height))


def _made_before(folder: Path, sha256: str) -> PreparedAvatar | None:
    if not folder.is_dir():
        return None
    try:
        avatar = PreparedAvatar.open(folder)
    except AvatarError:
        return None  # damaged or of another version: made again, and replaced
    return avatar if avatar.settings.source_sha256 == sha256 else None


async def _encode(
    track: Track,
    frames: FrameFile,
    preparation: _Preparation,
    coder: FaceCoder,
    run: Callable[..., asyncio.Future[NDArray[np.uint8]]],
    progress: Progress,
) -> tuple[NDArray[np.float16], float]:
    batch = await coder.encoder_batch()
    side = preparation.resolution // CONTRACT.pixels_per_latent
    condition = np.zeros((len(track.affines), CONTRACT.condition_channels, side, side), np.float16)
    speakable = np.flatnonzero(np.isfinite(track.affines).all(axis=(1, 2)))
    for start in range(0, len(speakable), batch):
        rows = speakable[start : start + batch]
        faces = await run(preparation.faces, frames, track, rows)
        condition[rows] = await face_condition(coder, faces)
        progress(Step.ENCODING, start + len(rows), len(speakable))
    sample = sampled_rows(speakable)
    faces = await run(preparation.faces, frames, track, sample)
    return condition, await measured_fit_db(coder, faces, condition[sample, -CONTRACT.latent_channels :])


@dataclass(frozen=True)
class _Preparation:
    """The blocking steps, all run in one thread."""

    video: Path
    options: PrepareOptions
    checkpoint: str
    resolution: int
    finder: FaceFinder
    progress: Progress
    room: DiskRoom
    stopped: Event

    def track(self, writer: AvatarWriter) -> tuple[Track, FrameFile]:
        """Decodes the clip into the folder and finds the face in it."""
        options, file = self.options, writer.frames()
        total = video_info(self.video).frame_count
        tracker = FaceTracker(self.finder, options.face_at, self.resolution)
        size = options.size if options.size is None else same_shape(self.video, options.size, "motion")
        frames = read_frames(self.video, options.first + options.max_frames, options.max_height, size)
        taken = islice(frames, options.first, None if options.last is None else options.last + 1)
        try:
            for number, frame in without_still_ends(taken):
                if self.stopped.is_set():
                    raise AvatarError("the preparation was cancelled")
                self.room.require(writer.folder, file.count * frame.nbytes, frame.nbytes)
                file.add(frame)
                tracker.see(frame, options.first + number)
                self.progress(Step.TRACKING, tracker.frames_seen, total)
            track = self._without_repeated_frame(tracker.track(), file)
        finally:
            frames.close()
            file.close()
        return track, FrameFile(file.path, file.count, file.size)

    def _without_repeated_frame(self, track: Track, file: FrameWriter) -> Track:
        """Drops the last frame of a looping clip when it repeats the first, which would be shown twice."""
        frames = file.read()
        cycles = (self.options.loop or track.loop) is Loop.CYCLE
        if not cycles or len(frames) < 2 or not np.array_equal(frames[0], frames[len(frames) - 1]):
            return track
        file.truncate(file.count - 1)
        return replace(track, affines=track.affines[:-1], landmarks=track.landmarks[:-1])

    def faces(self, frames: FrameFile, track: Track, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Face crops RGB uint8 [k, R, R, 3] of the frames `rows`."""
        crops = [crop_face(frames[row], track.affines[row], self.resolution) for row in rows.tolist()]
        frames.release()
        return np.stack(crops)

    def finish(
        self,
        writer: AvatarWriter,
        name: str,
        sha256: str,
        track: Track,
        frames: FrameFile,
        condition: NDArray[np.float16],
        fit_db: float,
    ) -> None:
        """Writes what is left, so that the folder needs only to be put in its place."""
        count, height, width, _ = frames.array.shape
        idle = None if self.options.idle is None else self._idle(writer, self.options.idle, frames)
        # The soft masks take a byte for each pixel that pasting touches.
        self.room.require(writer.folder, 0, condition.nbytes + count * height * width)
        loop = self.options.loop or track.loop
        settings = AvatarSettings(
            name,
            width,
            height,
            count,
            self.resolution,
            loop,
            sha256,
            idle=idle,
            checkpoint=self.checkpoint,
            fit_db=fit_db,
        )
        matrices = np.stack([face_matrix(affine, self.resolution) for affine in track.affines])
        speakable = int(np.flatnonzero(np.isfinite(track.affines).all(axis=(1, 2)))[0])
        writer.finish(settings, frames[speakable], matrices, condition, track.landmarks)
        PreparedAvatar.open(writer.folder)  # what can't be opened must not replace what can
        if self.stopped.is_set():
            raise AvatarError("the preparation was cancelled")
        writer.seal()

    def _idle(self, writer: AvatarWriter, video: Path, avatar: FrameFile) -> IdleSettings:
        size = (avatar.array.shape[2], avatar.array.shape[1])
        total, file = video_info(video).frame_count, writer.frames(IDLE_FOLDER)
        same_shape(video, size, "idle clip")
        thumbnails = []
        for _, frame in without_still_ends(read_frames(video, self.options.max_frames, size=size)):
            if self.stopped.is_set():
                raise AvatarError("the preparation was cancelled")
            self.room.require(writer.folder, avatar.array.nbytes + file.count * frame.nbytes, frame.nbytes)
            file.add(frame)
            thumbnails.append(thumbnail(frame))
            self.progress(Step.IDLE, file.count, total)
        file.close()
        return IdleSettings(*file.size, file.count, detect_loop(thumbnails))
