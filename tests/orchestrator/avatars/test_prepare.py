"""A real video made into an avatar through a real tritonserver."""

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from export.launcher import TritonServer
from latentsync.alignment import FaceAligner, crop_face
from latentsync.avatar import AvatarError, Loop, PreparedAvatar
from latentsync.checkpoint import Checkpoint
from latentsync.condition import face_condition
from latentsync.landmarks import FaceLandmarker
from orchestrator.audio.decoder import ffmpeg_binary
from orchestrator.avatars.errors import AvatarNotFound, NoFace, VideoError
from orchestrator.avatars.prepare import PrepareOptions, prepare_avatar
from orchestrator.avatars.store import list_avatars, remove_avatar
from orchestrator.inference.client import TritonClient
from orchestrator.inference.errors import InferenceFailed
from orchestrator.inference.transport import TritonSettings
from tests.conftest import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")

FRAMES = 10


@dataclass
class DrawnFace:
    """Landmarks around a point, as a detector would give them."""

    landmarks: np.ndarray


class FollowsSquare:
    """Stands in for the detector where no real face is at hand: the face is where the red square is."""

    def detect(self, frame: np.ndarray) -> list[DrawnFace]:
        rows, columns = np.nonzero((frame[..., 0] > 180) & (frame[..., 1] < 90))
        if not len(rows):
            return []
        angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        circle = 20 * np.column_stack([np.cos(angles), np.sin(angles)])
        return [DrawnFace(circle + np.array([columns.mean(), rows.mean()]))]


class CountingEncoder:
    """Latents without a model; fails when told."""

    def __init__(self) -> None:
        self.pictures = 0
        self.failing = False

    async def encoder_batch(self) -> int:
        return 4

    async def encode(self, pixels: np.ndarray) -> np.ndarray:
        assert len(pixels) <= 4
        self.pictures += len(pixels)
        if self.failing:
            raise InferenceFailed("out of memory")
        return np.repeat(pixels[:, :1, ::8, ::8], 4, axis=1)


def make_clip(path: Path, hidden: str = "0") -> Path:
    """Ten frames of a red square on green, absent where `hidden` holds."""
    ground = ["-f", "lavfi", "-i", f"color=green:s=160x120:r=25:d={FRAMES / 25}"]
    square = f"drawbox=x=60:y=40:w=30:h=30:color=red:t=fill:enable='not({hidden})'"
    subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *ground, "-vf", square, str(path)], check=True)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4")


async def prepare(clip: Path, folder: Path, checkpoint: Checkpoint, encoder: CountingEncoder) -> PreparedAvatar:
    return await prepare_avatar(clip, "anna", folder, checkpoint, encoder, FollowsSquare())


async def test_avatar_has_every_frame_with_its_matrix_and_condition(
    clip: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    told: list[int] = []
    encoder = CountingEncoder()
    avatar = await prepare_avatar(
        clip, "anna", tmp_path / "avatars", checkpoint, encoder, FollowsSquare(), progress=told.append
    )
    assert avatar.frame_count == FRAMES
    assert avatar.frame_size == (160, 120)
    assert avatar.matrices.shape == (FRAMES, 2, 3)
    assert avatar.condition.shape == (FRAMES, 9, 8, 8)
    assert encoder.pictures == 2 * FRAMES
    assert told == [4, 8, 10]
    assert [avatar.name for avatar in list_avatars(tmp_path / "avatars")] == ["anna"]


async def test_same_video_and_vae_are_prepared_once(clip: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    encoder = CountingEncoder()
    await prepare(clip, tmp_path / "avatars", checkpoint, encoder)
    await prepare(clip, tmp_path / "avatars", checkpoint, encoder)
    assert encoder.pictures == 2 * FRAMES
    await prepare(make_clip(clip, hidden="gt(n,100)+1-1"), tmp_path / "avatars", checkpoint, encoder)
    options = PrepareOptions(loop=Loop.CYCLE)
    avatar = await prepare_avatar(clip, "anna", tmp_path / "avatars", checkpoint, encoder, FollowsSquare(), options)
    assert avatar.settings.loop is Loop.CYCLE
    assert encoder.pictures == 4 * FRAMES, "another setting is another avatar"


async def test_frames_without_a_face_are_named(tmp_path: Path, checkpoint: Checkpoint) -> None:
    clip = make_clip(tmp_path / "clip.mp4", hidden="between(n,3,5)")
    with pytest.raises(NoFace, match=r"in 3 of 10 frames \(at 25 frames/s: 3, 4, 5\)") as caught:
        await prepare(clip, tmp_path / "avatars", checkpoint, CountingEncoder())
    assert caught.value.frames == [3, 4, 5]
    assert list_avatars(tmp_path / "avatars") == []


async def test_failed_preparation_keeps_the_avatar_that_is_there(
    clip: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    encoder = CountingEncoder()
    before = await prepare(clip, tmp_path / "avatars", checkpoint, encoder)
    encoder.failing = True
    with pytest.raises(InferenceFailed):
        await prepare(make_clip(clip, hidden="gt(n,8)"), tmp_path / "avatars", checkpoint, encoder)
    (after,) = list_avatars(tmp_path / "avatars")
    assert after.settings == before.settings
    assert [path.name for path in (tmp_path / "avatars").iterdir()] == ["anna"]


async def test_cancelling_leaves_nothing(clip: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    class Waiting(CountingEncoder):
        async def encode(self, pixels: np.ndarray) -> np.ndarray:
            self.pictures += len(pixels)
            await asyncio.Event().wait()
            raise AssertionError

    encoder = Waiting()
    task = asyncio.create_task(prepare(clip, tmp_path / "avatars", checkpoint, encoder))
    while not encoder.pictures:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (tmp_path / "avatars").exists()


@pytest.mark.parametrize("name", ["", "Anna", "../anna", "a b", "-a", "a" * 65])
async def test_names_that_are_no_folder_are_refused(
    clip: Path, tmp_path: Path, checkpoint: Checkpoint, name: str
) -> None:
    with pytest.raises(AvatarError, match="name"):
        await prepare_avatar(clip, name, tmp_path, checkpoint, CountingEncoder(), FollowsSquare())


async def test_missing_video_is_named(tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(VideoError, match="no such file"):
        await prepare(tmp_path / "none.mp4", tmp_path / "avatars", checkpoint, CountingEncoder())


async def test_removed_avatar_is_gone(clip: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    await prepare(clip, tmp_path / "avatars", checkpoint, CountingEncoder())
    remove_avatar(tmp_path / "avatars", "anna")
    assert list_avatars(tmp_path / "avatars") == []
    with pytest.raises(AvatarNotFound, match="anna"):
        remove_avatar(tmp_path / "avatars", "anna")


async def test_real_face_is_cut_out_and_encoded_as_the_model_would(
    shared: Path, tmp_path: Path, checkpoint: Checkpoint, triton_server: TritonServer
) -> None:
    models = ROOT / "checkpoints" / "face"
    if not models.is_dir():
        pytest.skip("the face models are not fetched: run `latentsync-realtime fetch`")
    video = tmp_path / "presenter.mp4"
    source = shared / "media" / "presenter_1080x1920_25fps.mp4"
    cut = ["-i", str(source), "-t", "0.2", "-vf", "scale=-2:640", str(video)]
    await asyncio.to_thread(subprocess.run, [ffmpeg_binary(), "-v", "error", *cut], check=True)
    landmarker = FaceLandmarker(models)
    async with TritonClient(TritonSettings(f"127.0.0.1:{triton_server.options.grpc_port}")) as client:
        avatar = await prepare_avatar(video, "real", tmp_path / "avatars", checkpoint, client, landmarker)
    assert avatar.frame_count == 5
    side = avatar.resolution
    for index in range(avatar.frame_count):
        (face, *_) = landmarker.detect(np.asarray(avatar.frames[index]))
        mesh = np.column_stack([face.landmarks, np.ones(68)]) @ avatar.matrices[index].T
        mouth = mesh[48:].mean(axis=0) / side
        assert mouth == pytest.approx([0.5, 0.62], abs=0.06), "the mouth lies where the mask repaints"
    (face, *_) = landmarker.detect(np.asarray(avatar.frames[0]))
    crop = crop_face(np.asarray(avatar.frames[0]), FaceAligner().align(face.landmarks), side)
    local = face_condition(checkpoint.load_vae(), crop[None])[0]
    np.testing.assert_allclose(avatar.condition[0], local, atol=0.03)
