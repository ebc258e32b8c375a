"""A recording on a disk that fills up, and one that goes on in further files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentsync.avatar import PreparedAvatar
from streaming.events import PublisherState, Status
from streaming.recording import DiskReserve, remove_if_empty
from tests.support.receiver import read
from tests.support.watched import is_state, running

DISK_MB = 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system that may be filled up can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def problem_of(event: object) -> str:
    return event.targets[0].problem if isinstance(event, Status) else ""


async def test_full_disk_makes_no_file_after_file_and_one_line_of_log(
    avatar: PreparedAvatar, small_disk: Path, tmp_path: Path
) -> None:
    filler = small_disk / "filler"
    async with running(avatar, tmp_path, targets=(str(small_disk / "show.flv"),)) as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], capture_output=True, check=False)
        await watched.until(lambda e: "No space left" in problem_of(e))
        count = len(watched.events)
        await watched.until(lambda e: isinstance(e, Status) and watched.events.index(e) > count + 12)
        assert {path.name for path in small_disk.iterdir()} <= {"filler", "show.flv", "show-1.flv"}
        filler.unlink()
        await watched.until(is_state(PublisherState.ON_AIR))
    assert (tmp_path / "c.log").read_text().count("trying again") == 1


async def test_recording_leaves_the_reserve_free_and_goes_on_when_there_is_room(
    avatar: PreparedAvatar, small_disk: Path, tmp_path: Path
) -> None:
    reserve, filler = DISK_MB * 500_000, small_disk / "filler"
    targets = (str(small_disk / "show.flv"),)
    async with running(avatar, tmp_path, targets=targets, disk_reserve_bytes=reserve) as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        filler.write_bytes(bytes(DISK_MB * 600_000))
        status = await watched.until(lambda e: "reserve of 4 MB" in problem_of(e))
        assert isinstance(status, Status) and status.targets[0].state is PublisherState.RECONNECTING
        filler.unlink()
        await watched.until(is_state(PublisherState.ON_AIR))
    watched.skip_where_pictures_were_left_out()
    before, after = (read(small_disk / name, *avatar.frame_size) for name in ("show.flv", "show-1.flv"))
    assert before.missing == after.missing == [] and after.numbers[0] > before.numbers[-1]


async def test_recording_that_goes_on_in_other_files_loses_no_frame(avatar: PreparedAvatar, tmp_path: Path) -> None:
    async with running(avatar, tmp_path, targets=(str(tmp_path / "show.flv"),), recording_part_s=2) as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        seen = len(watched.events)
        await watched.until(lambda _: (tmp_path / "show-3.flv").exists())
        statuses = [event for event in watched.events[seen:] if isinstance(event, Status)]
    assert all(status.publisher is PublisherState.ON_AIR and status.reconnects == 0 for status in statuses)
    watched.skip_where_pictures_were_left_out()
    names = ("show.flv", "show-1.flv", "show-2.flv")
    numbers = [number for name in names for number in read(tmp_path / name, *avatar.frame_size).numbers]
    assert numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 100


def test_reserve_has_a_margin_so_that_recording_does_not_stop_and_go(tmp_path: Path) -> None:
    free = 200
    reserve = DiskReserve(tmp_path, 100, lambda _: free)
    assert not reserve.problem()
    for free, low in ((99, True), (101, True), (111, False), (101, False)):
        assert bool(reserve.problem()) is low, free


def test_folder_that_is_gone_is_a_reason_and_no_exception(tmp_path: Path) -> None:
    assert "No such file" in DiskReserve(tmp_path / "gone", 100).problem()


def test_only_an_empty_file_is_removed(tmp_path: Path) -> None:
    (tmp_path / "empty.flv").touch()
    (tmp_path / "full.flv").write_bytes(b"x")
    for name in ("empty.flv", "full.flv", "none.flv"):
        remove_if_empty(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["full.flv"]
