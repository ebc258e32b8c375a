"""Motions added to an avatar: prepared beside its idle clip, with an index of where both look alike."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from latentsync.avatar import AvatarError, Loop, PreparedAvatar
from latentsync.checkpoint import Checkpoint
from latentsync.motions import MOTION_FILE, Motion, motion_names, open_motions
from orchestrator.avatars.errors import MotionExists, MotionNotFound, NoFace, OtherPerson, VideoError
from orchestrator.avatars.likeness import require_same_person
from orchestrator.avatars.motions import MotionOptions, add_motion, find_motion, remove_motion, rename_motion
from orchestrator.avatars.prepare import PrepareOptions, prepare_avatar
from orchestrator.avatars.store import list_avatars
from tests.support.drawn_face import FollowsSquare, drawn_face
from tests.support.square_clip import CountingEncoder, make_clip

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
async def avatar(tmp_path: Path, checkpoint: Checkpoint) -> PreparedAvatar:
    clip = make_clip(tmp_path / "idle.mp4", frames=30)
    return await prepare_avatar(clip, "anna", tmp_path / "avatars", checkpoint, CountingEncoder(), FollowsSquare())


async def add(
    avatar: PreparedAvatar, checkpoint: Checkpoint, video: Path, options: MotionOptions | None = None,
    encoder: CountingEncoder | None = None, name: str = "wave",
) -> Motion:  # fmt: skip
    return await add_motion(
        video, name, avatar, options or MotionOptions("anna"), checkpoint, encoder or CountingEncoder(), FollowsSquare()
    )


async def test_a_motion_is_prepared_and_knows_which_idle_frames_it_resembles(
    avatar: PreparedAvatar, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    video = make_clip(tmp_path / "wave.mp4", frames=20, column=lambda frame: 65 + frame, marked=False)
    motion = await add(avatar, checkpoint, video)
    assert motion.clip.frame_count == 20 and motion.clip.condition.shape == (20, 9, 8, 8)
    assert motion.difference.shape == (30, 20)
    nearest = motion.difference.argmin(axis=0)
    assert nearest[:20].tolist() == list(range(5, 25)), "the square stands where it stood five frames later in idle"
    assert list(open_motions(avatar)) == ["wave"]
    assert [each.name for each in list_avatars(tmp_path / "avatars")] == ["anna"], "a motion is no avatar"


async def test_frames_are_cut_out_of_a_longer_video(
    avatar: PreparedAvatar, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    video = make_clip(tmp_path / "long.mp4", frames=60, hidden=range(20))
    motion = await add(avatar, checkpoint, video, MotionOptions("anna", Loop.CYCLE, 25, 44))
    assert motion.clip.frame_count == 20 and motion.clip.settings.loop is Loop.CYCLE
    assert np.array_equal(motion.clip.frames[0, 0, 25], (0, 0, 255)), "the mark of frame 25"


async def test_the_same_motion_is_prepared_once_and_another_of_its_name_is_refused(
    avatar: PreparedAvatar, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    encoder = CountingEncoder()
    video = make_clip(tmp_path / "wave.mp4", frames=20)
    await add(avatar, checkpoint, video, encoder=encoder)
    await add(avatar, checkpoint, video, encoder=encoder)
    assert encoder.pictures == 2 * 20
    with pytest.raises(MotionExists, match="'anna' has a motion 'wave' already"):
        await add(avatar, checkpoint, make_clip(tmp_path / "wave.mp4", frames=22), encoder=encoder)


async def test_a_larger_video_of_the_same_shape_is_brought_to_the_avatars_size_and_rate(
    avatar: PreparedAvatar, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    video = make_clip(tmp_path / "large.mp4", frames=40, size=(320, 240), rate=50, column=lambda frame: 120 + frame)
    motion = await add(avatar, checkpoint, video)
    assert motion.clip.frame_size == avatar.frame_size and motion.clip.frame_count == 20


@pytest.mark.parametrize(
    ("video", "error", "message"),
    [
        ({"size": (120, 160)}, VideoError, "wave.mp4 is 120×160 and the avatar 160×120: the motion must have the same"),
        ({"hidden": range(20)}, NoFace, "no face was found in 20 of 20 frames"),
        ({"frames": 2}, VideoError, "2 different frames at 25 frames/s: a motion needs at least 10"),
    ],
)
async def test_a_video_that_can_not_be_a_motion_says_why_and_leaves_nothing(
    avatar: PreparedAvatar,
    tmp_path: Path,
    checkpoint: Checkpoint,
    video: dict[str, object],
    error: type[AvatarError],
    message: str,
) -> None:
    clip = make_clip(tmp_path / "wave.mp4", **{"frames": 20, **video})  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        await add(avatar, checkpoint, clip)
    assert motion_names(avatar.directory) == []


async def test_frames_that_are_too_few_are_refused_before_anything_is_read() -> None:
    with pytest.raises(AvatarError, match="from frame 10 to frame 12"):
        MotionOptions("anna", None, 10, 12)


async def test_another_persons_face_is_refused() -> None:
    idle = np.repeat(drawn_face(80, 60).landmarks[None], 30, axis=0).astype(np.float32)
    tilted = np.array([[0.94, -0.34], [0.34, 0.94]], np.float32)
    same = idle[:12] @ tilted.T * 1.3 + 20
    require_same_person("wave", "anna", idle, same)
    narrow = same * [0.8, 1.0]
    with pytest.raises(OtherPerson, match="'wave' is not that of avatar 'anna'"):
        require_same_person("wave", "anna", idle, narrow.astype(np.float32))
    mixed = np.concatenate([same[:4], narrow[4:]]).astype(np.float32)
    require_same_person("wave", "anna", idle, mixed)  # a nod changes the shape too, and begins and ends without


async def test_motions_are_renamed_and_removed(avatar: PreparedAvatar, tmp_path: Path, checkpoint: Checkpoint) -> None:
    await add(avatar, checkpoint, make_clip(tmp_path / "wave.mp4", frames=20))
    rename_motion(avatar.directory, "wave", "hello")
    assert find_motion(avatar, "hello").name == "hello"
    with pytest.raises(MotionNotFound, match="no motion 'wave'; there is hello"):
        find_motion(avatar, "wave")
    with pytest.raises(MotionExists):
        rename_motion(avatar.directory, "hello", "hello")
    with pytest.raises(AvatarError, match="cannot be a motion's name"):
        rename_motion(avatar.directory, "hello", "../escape")
    remove_motion(avatar.directory, "hello")
    assert motion_names(avatar.directory) == []


async def test_a_motion_of_another_video_of_the_avatar_is_named(
    avatar: PreparedAvatar, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    motion = await add(avatar, checkpoint, make_clip(tmp_path / "wave.mp4", frames=20))
    kept = tmp_path / "kept"
    shutil.copytree(motion.clip.directory, kept)
    options = PrepareOptions(loop=Loop.CYCLE)
    again = await prepare_avatar(
        tmp_path / "idle.mp4", "anna", tmp_path / "avatars", checkpoint, CountingEncoder(), FollowsSquare(), options
    )
    assert open_motions(again) == {}
    shutil.copytree(kept, motion.clip.directory)
    with pytest.raises(AvatarError, match="'wave' was prepared for another video of avatar 'anna': add it again"):
        Motion.open(again, "wave")
    assert open_motions(again) == {}, "the channel plays without it"


async def test_damaged_files_of_a_motion_are_named(
    avatar: PreparedAvatar, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    motion = await add(avatar, checkpoint, make_clip(tmp_path / "wave.mp4", frames=20))
    (motion.clip.directory / MOTION_FILE).write_text("{")
    with pytest.raises(AvatarError, match=r"motion\.json is damaged"):
        Motion.open(avatar, "wave")
