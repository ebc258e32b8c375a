"""Prepared avatars on disk."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.avatar import AvatarError, Loop, PreparedAvatar
from latentsync.avatar_writer import AvatarWriter, remove_abandoned
from latentsync.mask import paste_mask
from latentsync.paste_back import PasteBack
from tests.support.checkout import ROOT

COUNT, HEIGHT, WIDTH, LATENTS = 4, 48, 64, 4


def frames() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)


def create(directory: Path, loop: Loop = Loop.CYCLE, **changes: Any) -> PreparedAvatar:
    settings = {
        "name": "anna",
        "frames": iter(frames()),
        "matrices": np.tile(np.array([[0.5, 0, 0], [0, 0.5, 0]]), (COUNT, 1, 1)),
        "condition": np.random.default_rng(1).standard_normal((COUNT, 9, LATENTS, LATENTS)).astype(np.float16),
        "loop": loop,
        "source_sha256": "ab" * 32,
    }
    return PreparedAvatar.create(directory, **settings | changes)


def test_what_was_written_is_read_back_memory_mapped(tmp_path: Path) -> None:
    create(tmp_path / "anna", loop=Loop.PINGPONG)
    avatar = PreparedAvatar.open(tmp_path / "anna")
    assert (avatar.name, avatar.frame_count, avatar.frame_size, avatar.resolution) == ("anna", 4, (64, 48), 32)
    assert avatar.settings.loop is Loop.PINGPONG
    assert avatar.settings.fps == 25
    np.testing.assert_array_equal(avatar.frames, frames())
    assert avatar.matrices.dtype == np.float64
    assert avatar.condition.shape == (COUNT, 9, LATENTS, LATENTS)
    assert isinstance(avatar.condition, np.memmap)
    for array in (avatar.frames, avatar.condition):
        assert not array.flags.writeable
    preview = cv2.cvtColor(cv2.imread(str(avatar.preview_path)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(preview, frames()[0])


def test_a_cycle_starts_over(tmp_path: Path) -> None:
    avatar = create(tmp_path / "anna", loop=Loop.CYCLE)
    assert [avatar.frame_index(position) for position in range(-2, 7)] == [2, 3, 0, 1, 2, 3, 0, 1, 2]


def test_pingpong_goes_back_without_doubling_the_end_frames(tmp_path: Path) -> None:
    avatar = create(tmp_path / "anna", loop=Loop.PINGPONG)
    assert [avatar.frame_index(position) for position in range(-3, 9)] == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]


@pytest.mark.parametrize("loop", list(Loop))
def test_a_single_frame_is_every_frame(tmp_path: Path, loop: Loop) -> None:
    avatar = create(
        tmp_path / "anna",
        loop=loop,
        frames=iter(frames()[:1]),
        matrices=np.zeros((1, 2, 3)),
        condition=np.zeros((1, 9, LATENTS, LATENTS), np.float16),
    )
    assert {avatar.frame_index(position) for position in range(-3, 4)} == {0}


def test_faces_are_pasted_into_its_frames(tmp_path: Path) -> None:
    avatar = create(tmp_path / "anna")
    frame = np.array(avatar.frames[1])
    avatar.paste_back().paste(frame, np.zeros((32, 32, 3), np.uint8), 1)
    assert (frame != avatar.frames[1]).any()


def test_adding_it_again_replaces_it(tmp_path: Path) -> None:
    create(tmp_path / "anna")
    assert create(tmp_path / "anna", loop=Loop.PINGPONG).settings.loop is Loop.PINGPONG
    assert [path.name for path in tmp_path.iterdir()] == ["anna"]


def test_flipped_bit_of_a_file_is_found_by_its_checksum(tmp_path: Path) -> None:
    folder = create(tmp_path / "anna").directory
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=folder, check=True)
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == len(list(folder.iterdir())) - 1
    with (folder / "frames.rgb").open("r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))
    PreparedAvatar.open(folder)  # which looks at sizes alone
    checked = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (1, "frames.rgb: FAILED\n")


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
def test_what_does_not_fit_is_refused_and_leaves_the_old_one_alone(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    create(tmp_path / "anna")
    with pytest.raises(AvatarError, match=named):
        create(tmp_path / "anna", **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["anna"]
    PreparedAvatar.open(tmp_path / "anna")


def rewrite_settings(folder: Path, **changes: Any) -> None:
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
        (lambda folder: (folder / "masks.u8").write_bytes(b"short"), r"masks\.u8"),
        (lambda folder: (folder / "rectangles.npy").unlink(), r"rectangles\.npy"),
    ],
)
def test_a_damaged_avatar_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], object], named: str) -> None:
    create(tmp_path / "anna")
    damage(tmp_path / "anna")
    with pytest.raises(AvatarError, match=named):
        PreparedAvatar.open(tmp_path / "anna")


FILES = ("avatar.json", "frames.rgb", "matrices.npy", "condition.npy", "rectangles.npy", "masks.u8")


@pytest.mark.parametrize("name", FILES)
def test_garbled_files_are_refused_or_played_and_nothing_else_happens(tmp_path: Path, name: str) -> None:
    avatar = create(tmp_path / "anna")
    path, random = avatar.directory / name, np.random.default_rng(3)
    whole = path.read_bytes()
    for _ in range(60):
        garbled = bytearray(whole)
        for place in random.integers(0, len(whole), random.integers(1, 20)):
            garbled[place] = random.integers(0, 256)
        path.write_bytes(garbled[: random.integers(0, len(whole) + 1)] if random.integers(2) else garbled)
        try:
            opened = PreparedAvatar.open(avatar.directory).with_own_condition()
        except AvatarError as error:
            assert str(avatar.directory) in str(error)
            continue
        paste_back = opened.paste_back()
        for index in range(COUNT):
            picture = opened.frame(opened.frame_index(index)).copy()
            paste_back.paste(picture, np.zeros((32, 32, 3), np.uint8), opened.frame_index(index))


def test_own_condition_stays_when_its_file_is_cut_short(tmp_path: Path) -> None:
    avatar = create(tmp_path / "anna").with_own_condition()
    expected = avatar.condition.copy()
    with (avatar.directory / "condition.npy").open("r+b") as file:
        file.truncate(0)
    np.testing.assert_array_equal(avatar.condition, expected)


def test_condition_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    condition = np.full((COUNT, 9, LATENTS, LATENTS), np.nan, np.float16)
    with pytest.raises(AvatarError, match=r"condition\.npy is damaged"):
        create(tmp_path / "anna", condition=condition).with_own_condition()


def test_frames_without_a_face_are_marked_and_left_as_they_are(tmp_path: Path) -> None:
    matrices = np.tile(np.array([[0.5, 0, 0], [0, 0.5, 0]]), (COUNT, 1, 1))
    matrices[2] = np.nan
    avatar = create(tmp_path / "anna", matrices=matrices)
    assert avatar.speakable.tolist() == [True, True, False, True]
    for index in range(COUNT):
        frame = np.array(avatar.frame(index))
        avatar.paste_back().paste(frame, np.zeros((32, 32, 3), np.uint8), index)
        assert (frame == avatar.frames[index]).all() == (index == 2)


def test_prepared_masks_paste_as_fresh_ones_do(tmp_path: Path) -> None:
    avatar = create(tmp_path / "anna")
    fresh = PasteBack(np.array(avatar.matrices), avatar.frame_size, 32, paste_mask(32))
    prepared, face = avatar.paste_back(), frames()[0][:32, :32]
    for index in range(COUNT):
        assert prepared.rectangle(index) == fresh.rectangle(index)
        one, other = np.array(avatar.frames[index]), np.array(avatar.frames[index])
        prepared.paste(one, face, index)
        fresh.paste(other, face, index)
        np.testing.assert_array_equal(one, other)


def resident_kib(path: Path) -> int:
    """How much of a mapped file is in this process's memory."""
    kib, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if line[0] in "0123456789abcdef" and "-" in line.split(" ")[0]:
            inside = line.rstrip().endswith(str(path))
        elif inside and line.startswith("Rss:"):
            kib += int(line.split()[1])
    return kib


def test_a_long_clip_that_plays_does_not_fill_the_memory(tmp_path: Path) -> None:
    count, height, width = 120, 320, 256
    clip = (np.full((height, width, 3), index, np.uint8) for index in range(count))
    avatar = create(
        tmp_path / "anna",
        frames=clip,
        matrices=np.full((count, 2, 3), np.nan),
        condition=np.zeros((count, 9, LATENTS, LATENTS), np.float16),
    )
    path = tmp_path / "anna" / "frames.rgb"
    first = avatar.frame(0)
    for index in range(count):
        assert avatar.frame(index)[5, 5, 0] == index
        assert int(avatar.frame(index).sum()) == index * height * width * 3
    assert resident_kib(path) < 0.6 * path.stat().st_size / 1024
    assert int(first.sum()) == 0, "what was handed out before stays valid"


def test_an_avatar_that_speaks_does_not_fill_the_memory_with_masks(tmp_path: Path) -> None:
    count, side = 120, 256
    avatar = create(
        tmp_path / "anna",
        frames=(np.zeros((side, side, 3), np.uint8) for _ in range(count)),
        matrices=np.tile(np.array([[1.0, 0, 0], [0, 1.0, 0]]), (count, 1, 1)),
        condition=np.zeros((count, 9, side // 8, side // 8), np.float16),
    )
    path, paste_back, face = tmp_path / "anna" / "masks.u8", avatar.paste_back(), np.full((side, side, 3), 9, np.uint8)
    for index in range(count):
        picture = np.array(avatar.frame(index))
        paste_back.paste(picture, face, index)
        assert picture.max() == 9, "a mask that was taken off the memory is read again"
    assert resident_kib(path) < 0.2 * path.stat().st_size / 1024


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        def write(self, content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    with AvatarWriter(tmp_path / "anna") as writer:
        file = writer.frames()
        file.close()
        monkeypatch.setattr(file, "_file", FullDisk())
        with pytest.raises(AvatarError, match=r"disk of .* is full after 0 frames"):
            file.add(frames()[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loop", list(Loop))
def test_speech_never_comes_to_a_frame_without_a_face(tmp_path: Path, loop: Loop) -> None:
    matrices = np.tile(np.array([[0.5, 0, 0], [0, 0.5, 0]]), (COUNT, 1, 1))
    matrices[0] = np.nan
    avatar = create(tmp_path / "anna", loop=loop, matrices=matrices)
    path = [avatar.frame_index(position) for position in range(8)]
    assert path == [1, 2, 3, 2, 1, 2, 3, 2]
    assert avatar.period == 4
    assert path[:4] == [avatar.frame_index(position + avatar.period) for position in range(4)]
    assert avatar.played == range(1, 4)


def test_the_path_repeats_after_its_period(tmp_path: Path) -> None:
    for loop, period in ((Loop.CYCLE, 4), (Loop.PINGPONG, 6)):
        avatar = create(tmp_path / loop.value, loop=loop)
        assert avatar.period == period
        assert [avatar.frame_index(p) for p in range(9)] == [avatar.frame_index(p + period) for p in range(9)]


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    program = "import sys, time; from pathlib import Path; from latentsync.avatar_writer import AvatarWriter\n"
    program += "w = AvatarWriter(Path(sys.argv[1])); print('ready', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", program, str(tmp_path / "anna")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as killed:
        assert killed.stdout
        killed.stdout.readline()
        killed.kill()
    (abandoned,) = tmp_path.iterdir()
    with AvatarWriter(tmp_path / "anna") as living:
        assert not abandoned.exists()
        create(tmp_path / "anna")
        assert living.folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["anna"]


@pytest.mark.parametrize("renamed", [0, 1, 2], ids=["before", "between the two renamings", "after"])
@pytest.mark.parametrize("name", ["anna", "replaced"])
def test_writer_that_is_killed_while_it_replaces_an_avatar_leaves_one(tmp_path: Path, name: str, renamed: int) -> None:
    create(tmp_path / name)
    create(tmp_path / "other" / name, loop=Loop.PINGPONG)
    program = f"""
import os, shutil, signal
from pathlib import Path
from latentsync.avatar_writer import AvatarWriter

writer = AvatarWriter(Path({str(tmp_path / name)!r}))
shutil.copytree({str(tmp_path / "other" / name)!r}, writer.folder, dirs_exist_ok=True)
writer.seal()
rename, left = Path.rename, [{renamed}]

def killing(path, target):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return rename(path, target)

Path.rename = killing
writer.publish()
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    remove_abandoned(tmp_path)
    assert PreparedAvatar.open(tmp_path / name).settings.loop is (Loop.PINGPONG if renamed else Loop.CYCLE)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "other"])


def test_everything_is_on_the_disk_before_the_avatar_appears_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, synced = tmp_path / "anna", []
    fsync = os.fsync

    def noted(handle: int) -> None:
        fsync(handle)
        synced.append((Path(f"/proc/self/fd/{handle}").resolve(), target.exists()))

    monkeypatch.setattr(os, "fsync", noted)
    create(target)
    before = {path.name for path, there in synced if not there}
    assert before >= {path.name for path in target.rglob("*")} | {"anna"}
    assert [path for path, there in synced if there] == [tmp_path]
