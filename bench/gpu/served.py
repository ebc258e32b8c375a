"""What the bench needs before it measures: a model repository, a tritonserver on it, an avatar, a speech's chunks."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.gpu.chunks import ChunkSet, drawn_chunks, real_chunks
from bench.gpu.emulated.repository import Emulation
from bench.gpu.speech import Speech
from export.recipe import Version, recipe_checkpoint
from export.repository import CHECKPOINT, RECORD, WEIGHTS, ExportError, export_repository
from inference.client import TritonClient
from inference.launcher import TritonServer
from latentsync.avatar import AvatarError, PreparedAvatar
from latentsync.checkpoint import Checkpoint
from latentsync.landmarks import FaceLandmarker, LandmarkModelError
from orchestrator.avatars.prepare import prepare_avatar
from orchestrator.settings import CHECKOUT, Settings, SettingsError
from orchestrator.triton import triton_options
from orchestrator.triton_secret import triton_settings
from speech.log import SpeechLog

FOLDER = "bench-gpu"
AVATAR = "bench"

Report = Callable[[str], None]


@dataclass(frozen=True)
class ExportOptions:
    """How to export, as `latentsync-realtime export` takes it; `full_size` draws weights in the demo's place.

    They are of the size of `version`.
    """

    device: str = "auto"
    dtype: str = "auto"
    engine: str = "auto"
    solver: str = "ddim"
    reuse: int = 1
    unet_batch: int | None = None
    full_size: bool = False
    version: Version = Version.V1_0


@dataclass(frozen=True)
class BenchSources:
    """A model repository, or how to export one; the avatar's clip, the speech, the folder of the face models.

    `emulated` puts emulated GPUs in the place of those that UNet and decoder run on.
    """

    repository: Path | None
    export: ExportOptions
    video: Path
    audio: Path | None
    faces_dir: Path
    emulated: Emulation | None = None


def bench_sources(
    repository: Path | None,
    export: ExportOptions,
    video: Path | None,
    audio: Path | None,
    emulated: Emulation | None = None,
) -> BenchSources:
    """What the command line gave, with the demo's clip where it gave none."""
    checkpoints = CHECKOUT / "checkpoints"
    clip = video or checkpoints / "demo" / "avatar" / "idle.mp4"
    return BenchSources(repository, export, clip, audio, checkpoints / "face", emulated)


def model_version(name: str) -> Version:
    """The version of LatentSync of that name; raises SettingsError."""
    try:
        return Version(name)
    except ValueError:
        known = ", ".join(version.value for version in Version)
        raise SettingsError(f"--version is {name!r} and must be one of {known}") from None


def bench_settings(settings: Settings) -> Settings:
    """The settings with a data folder of the bench's own, and free ports."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    names = ("http_port", "triton_grpc_port", "triton_metrics_port")
    changes = dict(zip(names, ports, strict=True))
    hosts = {"http_host": "127.0.0.1", "triton_host": "127.0.0.1", "triton_url": None, "rtmp_url": None}
    hosts |= {"triton_http_port": None, "triton_secret_file": None}
    return settings.model_copy(update={**changes, **hosts, "data_dir": settings.data_dir / FOLDER, "avatar": AVATAR})


def exported_repository(settings: Settings, options: ExportOptions, report: Report) -> Path:
    """The repository of these options in `settings.data_dir`; raises ExportError, CheckpointError, EngineError."""
    checkpoint_dir = settings.checkpoint_dir
    if options.full_size and checkpoint_dir.name == "demo":
        report("drawing weights of the official size")
        checkpoint_dir = recipe_checkpoint(settings.data_dir / "checkpoints", options.version)
    report(f"exporting {checkpoint_dir.name}")
    export_repository(
        checkpoint_dir,
        settings.model_repository,
        device=options.device,
        dtype=options.dtype,
        engine=options.engine,
        solver=options.solver,
        reuse=options.reuse,
        unet_batch=options.unet_batch,
        cpu_threads=settings.cpu_threads,
        report=report,
    )
    return settings.model_repository


def served_checkpoint(repository: Path) -> Checkpoint:
    """The checkpoint inside a model repository; raises ExportError for a folder that is none, and CheckpointError."""
    if not (repository / RECORD).is_file():
        raise ExportError(f"{repository} is no model repository: `latentsync-realtime export --output` writes one")
    return Checkpoint.open(repository / WEIGHTS / CHECKPOINT)


@asynccontextmanager
async def triton_on(
    settings: Settings, repository: Path, ready_limit_s: float, protected: bool = True
) -> AsyncIterator[TritonServer]:
    """A tritonserver until the block ends; raises TritonLaunchError, also when it is not ready in time.

    `protected` is false for clients that can't send the secret.
    """
    options = replace(triton_options(settings), model_repository=repository, ready_timeout_s=ready_limit_s)
    if not protected:
        options = replace(options, secret=None)
    server = await TritonServer.start(options)
    try:
        yield server
    finally:
        await server.aclose()


async def bench_avatar(
    settings: Settings, checkpoint: Checkpoint, faces_dir: Path, video: Path, report: Report
) -> PreparedAvatar | str:
    """The avatar of a clip, with faces of the checkpoint's size, kept in `settings.avatars_dir`; or why there is none.

    Raises InferenceError.
    """
    report(f"preparing an avatar from {video.name}")
    try:
        finder = FaceLandmarker(faces_dir)
        async with TritonClient(triton_settings(settings)) as client:
            return await prepare_avatar(video, AVATAR, settings.avatars_dir, checkpoint, client, finder)
    except (AvatarError, LandmarkModelError) as error:
        report(str(error))
        return str(error)


async def bench_chunks(
    settings: Settings, checkpoint: Checkpoint, avatar: PreparedAvatar | str, speech: Speech
) -> ChunkSet:
    """The speech on the avatar, or drawn chunks where a sentence says why there is no avatar; raises InferenceError."""
    if isinstance(avatar, str):
        return drawn_chunks(checkpoint.latent_size, avatar)
    with tempfile.TemporaryDirectory() as folder:
        log = SpeechLog(Path(folder) / "speech")
        try:
            await log.append(speech.frames)
            log.seal()
            async with TritonClient(triton_settings(settings)) as client:
                return await real_chunks(avatar, log, speech.origin, client)
        finally:
            log.close()
