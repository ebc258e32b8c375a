"""Prepared avatars on disk."""

import json

import cv2
import numpy as np
import pytest

from latentsync.avatar import AvatarError, Loop, PreparedAvatar

COUNT, HEIGHT, WIDTH, LATENTS = 4, 48, 64, 4


def frames():
    return np.random.default_rng(0).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)


def create(directory, loop=Loop.CYCLE, **changes):
    settings = {
        "name": "anna",
        "frames": iter(frames()),
        "matrices": np.tile(np.array([[0.5, 0, 0], [0, 0.5, 0]]), (COUNT, 1, 1)),
        "condition": np.random.default_rng(1).standard_normal((COUNT, 9, LATENTS, LATENTS)).astype(np.float16),
        "loop": loop,
        "source_sha256": "ab" * 32,
    }
    return PreparedAvatar.create(directory, **settings | changes)


def test_what_was_written_is_read_back_memory_mapped(tmp_path):
    create(tmp_path / "anna", loop=Loop.PINGPONG)
    avatar = PreparedAvatar.open(tmp_path / "anna")
    assert (avatar.name, avatar.frame_count, avatar.frame_size, avatar.resolution) == ("anna", 4, (64, 48), 32)
    assert avatar.settings.loop is Loop.PINGPONG
    assert avatar.settings.fps == 25
    np.testing.assert_array_equal(avatar.frames, frames())
    assert avatar.matrices.dtype == np.float64
    assert avatar.condition.shape == (COUNT, 9, LATENTS, LATENTS)
    for array in (avatar.frames, avatar.matrices, avatar.condition):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
    preview = cv2.cvtColor(cv2.imread(str(avatar.preview_path)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(preview, frames()[0])


def test_a_cycle_starts_over(tmp_path):
    avatar = create(tmp_path / "anna", loop=Loop.CYCLE)
    assert [avatar.frame_index(position) for position in range(-2, 7)] == [2, 3, 0, 1, 2, 3, 0, 1, 2]


def test_pingpong_goes_back_without_doubling_the_end_frames(tmp_path):
    avatar = create(tmp_path / "anna", loop=Loop.PINGPONG)
    assert [avatar.frame_index(position) for position in range(-3, 9)] == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]


@pytest.mark.parametrize("loop", list(Loop))
def test_a_single_frame_is_every_frame(tmp_path, loop):
    avatar = create(
        tmp_path / "anna",
        loop=loop,
        frames=iter(frames()[:1]),
        matrices=np.zeros((1, 2, 3)),
        condition=np.zeros((1, 9, LATENTS, LATENTS), np.float16),
    )
    assert {avatar.frame_index(position) for position in range(-3, 4)} == {0}


def test_faces_are_pasted_into_its_frames(tmp_path):
    avatar = create(tmp_path / "anna")
    frame = np.array(avatar.frames[1])
    avatar.paste_back().paste(frame, np.zeros((32, 32, 3), np.uint8), 1)
    assert (frame != avatar.frames[1]).any()


def test_adding_it_again_replaces_it(tmp_path):
    create(tmp_path / "anna")
    assert create(tmp_path / "anna", name="beate").name == "beate"
    assert [path.name for path in tmp_path.iterdir()] == ["anna"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"frames": iter(())}, "at least one frame"),
        ({"matrices": np.zeros((3, 2, 3))}, r"\[3, 2, 3\]"),
        ({"condition": np.zeros((COUNT, 8, LATENTS, LATENTS), np.float16)}, r"\[4, 8, 4, 4\]"),
        ({"frames": iter([frames()[0], frames()[0][:40]])}, "frame 1"),
        ({"frames": iter([frames()[0].astype(np.float32)])}, "uint8"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_old_one_alone(tmp_path, changes, named):
    create(tmp_path / "anna")
    with pytest.raises(AvatarError, match=named):
        create(tmp_path / "anna", **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["anna"]
    PreparedAvatar.open(tmp_path / "anna")


def rewrite_settings(folder, **changes):
    path = folder / "avatar.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "avatar.json").unlink(), r"avatar\.json"),
        (lambda folder: (folder / "avatar.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "avatar.json").write_text("[]"), "damaged"),
        (lambda folder: rewrite_settings(folder, version=0), "add the avatar again"),
        (lambda folder: rewrite_settings(folder, frame_count=5), r"frames\.rgb"),
        (lambda folder: rewrite_settings(folder, frame_count=-1), "frame_count"),
        (lambda folder: rewrite_settings(folder, resolution=64), r"condition\.npy"),
        (lambda folder: rewrite_settings(folder, loop="sideways"), "sideways"),
        (lambda folder: (folder / "frames.rgb").write_bytes(b"short"), r"frames\.rgb"),
        (lambda folder: (folder / "matrices.npy").write_bytes(b"not an array"), r"matrices\.npy"),
        (lambda folder: (folder / "condition.npy").unlink(), r"condition\.npy"),
    ],
)
def test_a_damaged_avatar_is_refused_by_name(tmp_path, damage, named):
    create(tmp_path / "anna")
    damage(tmp_path / "anna")
    with pytest.raises(AvatarError, match=named):
        PreparedAvatar.open(tmp_path / "anna")
