"""A video of a person made into an avatar, once for each video and VAE."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import AvatarError, Loop, PreparedAvatar
from latentsync.checkpoint import Checkpoint
from orchestrator.avatars.condition import FaceEncoder, face_condition
from orchestrator.avatars.errors import VideoError
from orchestrator.avatars.fingerprint import preparation_sha256
from orchestrator.avatars.store import avatar_directory
from orchestrator.avatars.tracking import FaceFinder, FaceTracker, Track
from orchestrator.avatars.video import read_frames

Progress = Callable[[int], None]


@dataclass(frozen=True)
class PrepareOptions:
    """Longest clip in frames, greatest height in pixels (None: as it is), and how it repeats (None: found out)."""

    max_frames: int = 1500
    max_height: int | None = None
    loop: Loop | None = None


async def prepare_avatar(
    video: Path,
    name: str,
    directory: Path,
    checkpoint: Checkpoint,
    encoder: FaceEncoder,
    finder: FaceFinder,
    options: PrepareOptions | None = None,
    progress: Progress = lambda frames: None,
) -> PreparedAvatar:
    """Make `directory`/`name` from a video of one face, or open it where the same was made before.

    Reads the video twice and holds a few frames at a time; `progress` is told how many frames are done. The folder
    appears complete or not at all. Raises `VideoError`, `NoFace`, `AvatarError` for a bad name, and `InferenceError`.
    """
    options = options or PrepareOptions()
    target = avatar_directory(directory, name)
    if not await asyncio.to_thread(video.is_file):
        raise VideoError(f"{video}: there is no such file")
    loop = options.loop.value if options.loop is not None else None
    sha256 = await asyncio.to_thread(preparation_sha256, video, checkpoint, options.max_height, loop)
    made = await asyncio.to_thread(_made_before, target, sha256)
    if made is not None:
        return made
    track, condition = await _track_and_encode(video, checkpoint.resolution, encoder, finder, options, progress)

    def write() -> PreparedAvatar:
        return PreparedAvatar.create(
            target,
            name=name,
            frames=read_frames(video, options.max_frames, options.max_height),
            matrices=track.matrices,
            condition=condition,
            loop=options.loop or track.loop,
            source_sha256=sha256,
        )

    return await asyncio.to_thread(write)


def _made_before(folder: Path, sha256: str) -> PreparedAvatar | None:
    if not folder.is_dir():
        return None
    try:
        avatar = PreparedAvatar.open(folder)
    except AvatarError:
        return None  # damaged or of another version: made again, and replaced
    return avatar if avatar.settings.source_sha256 == sha256 else None


async def _track_and_encode(
    video: Path,
    resolution: int,
    encoder: FaceEncoder,
    finder: FaceFinder,
    options: PrepareOptions,
    progress: Progress,
) -> tuple[Track, NDArray[np.float16]]:
    batch = await encoder.encoder_batch()
    frames = read_frames(video, options.max_frames, options.max_height)
    tracker = FaceTracker(frames, finder, resolution)
    conditions: list[NDArray[np.float16]] = []
    loop = asyncio.get_running_loop()
    # A thread of its own: after a cancellation the frames are closed behind the step that still reads them.
    thread = ThreadPoolExecutor(1, "avatar-frames")
    try:
        while (faces := await loop.run_in_executor(thread, tracker.next_faces, batch)) is not None:
            if len(faces):
                conditions.append(await face_condition(encoder, faces))
            progress(tracker.frames_seen)
    finally:
        thread.submit(frames.close)
        thread.shutdown(wait=False)
    return tracker.track(), np.concatenate(conditions)
