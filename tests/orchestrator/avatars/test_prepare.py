"""A real video made into an avatar through a real tritonserver."""

import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.client import TritonClient
from inference.errors import InferenceFailed
from inference.launcher import TritonServer
from inference.transport import TritonSettings
from latentsync.alignment import FaceAligner, crop_face
from latentsync.avatar import AvatarError, Loop, PreparedAvatar
from latentsync.checkpoint import Checkpoint
from latentsync.condition import face_condition
from latentsync.landmarks import FaceLandmarker
from orchestrator.avatars.errors import (
    AvatarInUse,
    AvatarNotFound,
    AvatarTooLarge,
    NoFace,
    NoRoomForAvatar,
    VideoError,
)
from orchestrator.avatars.fit import LEAST_FIT_DB
from orchestrator.avatars.prepare import PrepareOptions, Step, prepare_avatar
from orchestrator.avatars.room import DiskRoom
from orchestrator.avatars.store import list_avatars, remove_avatar
from orchestrator.avatars.video import video_info
from speech.audio.decoder import ffmpeg_binary
from tests.support.checkout import ROOT
from tests.support.drawn_face import FollowsSquare
from tests.support.square_clip import FRAMES, CountingEncoder, make_clip

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4")


async def prepare(clip: Path, folder: Path, checkpoint: Checkpoint, encoder: CountingEncoder) -> PreparedAvatar:
    return await prepare_avatar(clip, "anna", folder, checkpoint, encoder, FollowsSquare())


async def test_avatar_has_every_frame_with_its_matrix_and_condition(
    clip: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    told: list[tuple[Step, int, int | None]] = []
    encoder = CountingEncoder()
    avatar = await prepare_avatar(
        clip, "anna", tmp_path / "avatars", checkpoint, encoder, FollowsSquare(), progress=lambda *now: told.append(now)
    )
    assert avatar.frame_count == FRAMES
    assert avatar.frame_size == (160, 120)
    assert avatar.matrices.shape == (FRAMES, 2, 3)
    assert avatar.condition.shape == (FRAMES, 9, 8, 8)
    assert encoder.pictures == 2 * FRAMES
    assert told[:FRAMES] == [(Step.TRACKING, frame + 1, FRAMES) for frame in range(FRAMES)]
    assert told[FRAMES:] == [(Step.ENCODING, done, FRAMES) for done in (4, 8, 10)]
    assert [avatar.name for avatar in list_avatars(tmp_path / "avatars")] == ["anna"]


async def test_fit_is_measured_on_the_face_as_it_is_and_not_on_the_masked_one(
    clip: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    encoder = CountingEncoder()
    avatar = await prepare(clip, tmp_path / "avatars", checkpoint, encoder)
    (decoded,) = encoder.decoded
    np.testing.assert_array_equal(decoded, avatar.condition[[0, 3, 6, 9], 5:])
    assert avatar.settings.fit_db is not None and avatar.settings.fit_db < LEAST_FIT_DB, "it was decoded to black"


async def test_same_video_and_vae_are_prepared_once(clip: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    encoder = CountingEncoder()
    await prepare(clip, tmp_path / "avatars", checkpoint, encoder)
    await prepare(clip, tmp_path / "avatars", checkpoint, encoder)
    assert encoder.pictures == 2 * FRAMES
    make_clip(clip, column=lambda frame: 40 + frame)
    await prepare(clip, tmp_path / "avatars", checkpoint, encoder)
    assert encoder.pictures == 4 * FRAMES, "another clip is another avatar"
    options = PrepareOptions(loop=Loop.CYCLE)
    avatar = await prepare_avatar(clip, "anna", tmp_path / "avatars", checkpoint, encoder, FollowsSquare(), options)
    assert avatar.settings.loop is Loop.CYCLE
    assert encoder.pictures == 6 * FRAMES, "another setting is another avatar"
    assert avatar.settings.checkpoint == checkpoint.name
    other = replace(checkpoint, name="other")
    avatar = await prepare_avatar(clip, "anna", tmp_path / "avatars", other, encoder, FollowsSquare(), options)
    assert avatar.settings.checkpoint == "other"
    assert encoder.pictures == 8 * FRAMES, "another checkpoint is another avatar"


async def test_frames_without_a_face_are_named(tmp_path: Path, checkpoint: Checkpoint) -> None:
    clip = make_clip(tmp_path / "clip.mp4", hidden=[0, 1, 2, *range(5, 10)])
    with pytest.raises(NoFace, match=r"in 8 of 10 frames \(at 25 frames/s: 0–2, 5–9\)") as caught:
        await prepare(clip, tmp_path / "avatars", checkpoint, CountingEncoder())
    assert caught.value.frames == [0, 1, 2, 5, 6, 7, 8, 9]
    assert list((tmp_path / "avatars").iterdir()) == []


async def test_frames_of_a_long_loss_are_kept_and_nothing_is_encoded_for_them(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", hidden=range(30, 50), frames=60)
    encoder = CountingEncoder()
    avatar = await prepare(clip, tmp_path / "avatars", checkpoint, encoder)
    assert avatar.frame_count == 60
    assert np.flatnonzero(~avatar.speakable).tolist() == list(range(30, 50))
    assert encoder.pictures == 2 * 40
    assert not np.asarray(avatar.condition[30:50]).any()


async def test_an_idle_clip_is_kept_beside_in_the_avatars_size(
    clip: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    idle = make_clip(tmp_path / "idle.mp4", frames=20, size=(320, 240), rate=50)
    options, told = PrepareOptions(idle=idle), []
    avatar = await prepare_avatar(
        clip, "anna", tmp_path / "avatars", checkpoint, CountingEncoder(), FollowsSquare(), options,
        lambda step, done, total: told.append(step),
    )  # fmt: skip
    assert avatar.idle is not None
    assert (avatar.idle.settings.width, avatar.idle.settings.height, avatar.idle.settings.fps) == (160, 120, 25)
    assert avatar.idle.settings.frame_count == len(avatar.idle.frames) == 10
    assert avatar.idle.frames[3].shape == (120, 160, 3)
    assert told.count(Step.IDLE) == 10
    other = make_clip(tmp_path / "wide.mp4", size=(320, 120))
    with pytest.raises(VideoError, match=r"wide\.mp4 is 320×120 and the avatar 160×120: .* crop or pad"):
        await prepare_avatar(
            clip, "beate", tmp_path / "avatars", checkpoint, CountingEncoder(), FollowsSquare(),
            PrepareOptions(idle=other),
        )  # fmt: skip


async def test_last_frame_that_repeats_the_first_is_not_shown_twice(tmp_path: Path, checkpoint: Checkpoint) -> None:
    clip = make_clip(
        tmp_path / "loop.mp4",
        frames=21,
        column=lambda frame: 60 + 20 * np.sin(2 * np.pi * (frame % 20) / 20),
        marked=False,
    )
    avatar = await prepare(clip, tmp_path / "avatars", checkpoint, CountingEncoder())
    assert avatar.settings.loop is Loop.CYCLE
    assert avatar.frame_count == 20


async def test_failed_preparation_keeps_the_avatar_that_is_there(
    clip: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    encoder = CountingEncoder()
    before = await prepare(clip, tmp_path / "avatars", checkpoint, encoder)
    encoder.failing = True
    with pytest.raises(InferenceFailed):
        await prepare(make_clip(clip, hidden=[9]), tmp_path / "avatars", checkpoint, encoder)
    (after,) = list_avatars(tmp_path / "avatars")
    assert after.settings == before.settings
    assert [path.name for path in (tmp_path / "avatars").iterdir()] == ["anna"]


async def test_avatar_that_a_channel_began_to_play_meanwhile_is_not_replaced(
    clip: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    before = await prepare(clip, tmp_path / "avatars", checkpoint, CountingEncoder())
    make_clip(clip, hidden=[9])
    asked: list[str] = []

    def in_use() -> bool:
        asked.append("in use?")
        return True

    def progress(step: Step, done: int, total: int | None) -> None:
        assert not asked, "it is asked when all is done"

    with pytest.raises(AvatarInUse, match="anna"):
        await prepare_avatar(
            clip, "anna", tmp_path / "avatars", checkpoint, CountingEncoder(), FollowsSquare(), None, progress, in_use
        )
    assert asked
    (after,) = list_avatars(tmp_path / "avatars")
    assert after.settings == before.settings
    assert [path.name for path in (tmp_path / "avatars").iterdir()] == ["anna"]


FRAME_BYTES = 160 * 120 * 3


async def test_video_that_is_too_large_by_its_header_is_not_decoded(
    clip: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    told: list[int] = []
    for room, error in (
        (DiskRoom(limit_bytes=FRAMES * FRAME_BYTES - 1), AvatarTooLarge),
        (DiskRoom(reserve_bytes=1 << 60), NoRoomForAvatar),
    ):
        with pytest.raises(error):
            await prepare_avatar(
                clip, "anna", tmp_path / "avatars", checkpoint, CountingEncoder(), FollowsSquare(),
                progress=lambda step, done, total: told.append(done), room=room,
            )  # fmt: skip
    assert told == []
    assert not (tmp_path / "avatars").exists()


async def test_video_that_hides_its_length_is_given_up_at_the_limit(tmp_path: Path, checkpoint: Checkpoint) -> None:
    clip, raw = make_clip(tmp_path / "clip.mp4"), tmp_path / "clip.h264"
    subprocess.run([ffmpeg_binary(), "-v", "error", "-i", str(clip), "-c", "copy", str(raw)], check=True)
    assert video_info(raw).frame_count is None
    told: list[int] = []
    with pytest.raises(AvatarTooLarge, match="max_height"):
        await prepare_avatar(
            raw, "anna", tmp_path / "avatars", checkpoint, CountingEncoder(), FollowsSquare(),
            progress=lambda step, done, total: told.append(done), room=DiskRoom(limit_bytes=5 * FRAME_BYTES),
        )  # fmt: skip
    assert max(told) == 5
    assert list((tmp_path / "avatars").iterdir()) == []


async def test_idle_clip_counts_with_the_speaking_clip(clip: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    idle = make_clip(tmp_path / "idle.mp4")
    with pytest.raises(AvatarTooLarge):
        await prepare_avatar(
            clip, "anna", tmp_path / "avatars", checkpoint, CountingEncoder(), FollowsSquare(),
            PrepareOptions(idle=idle), room=DiskRoom(limit_bytes=2 * FRAMES * FRAME_BYTES - 1),
        )  # fmt: skip


async def test_cancelling_leaves_nothing(clip: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    class Waiting(CountingEncoder):
        async def encode(self, pixels: NDArray[Any]) -> NDArray[Any]:
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
    assert list((tmp_path / "avatars").iterdir()) == []


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
