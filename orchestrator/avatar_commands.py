"""What `avatar add` and `demo` do: a video made into an avatar, through the Triton that is running."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from latentsync.avatar import PreparedAvatar
from latentsync.checkpoint import Checkpoint
from latentsync.landmarks import FaceLandmarker
from orchestrator.avatars.prepare import PrepareOptions, prepare_avatar
from orchestrator.inference.client import TritonClient
from orchestrator.inference.transport import TritonSettings
from orchestrator.settings import Settings


async def add_avatar(
    settings: Settings,
    video: Path,
    name: str,
    options: PrepareOptions | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> PreparedAvatar:
    """Prepare an avatar from a video, or find it prepared; raises AvatarError, CheckpointError, InferenceError."""
    checkpoint = Checkpoint.open(settings.checkpoint_dir)
    finder = FaceLandmarker(settings.checkpoint_dir.parent / "face")
    async with TritonClient(TritonSettings(url=settings.triton_grpc_url)) as client:
        return await prepare_avatar(video, name, settings.avatars_dir, checkpoint, client, finder, options, progress)
