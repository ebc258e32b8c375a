"""On which frames of an avatar's clips a training sentence is shown."""

import json
from pathlib import Path

import numpy as np

from training.poses import CUT, read_poses, walk

LENGTHS = [250, 28, 56]


def test_half_of_the_frames_are_in_motions() -> None:
    rows = walk(200_000, LENGTHS, np.random.default_rng(0))

    assert 0.4 < (rows >= 250).mean() < 0.6
    assert (rows.min(), rows.max()) == (0, sum(LENGTHS) - 1)


def test_frames_follow_each_other_within_a_clip() -> None:
    rows = walk(20_000, LENGTHS, np.random.default_rng(0))

    jumps = np.flatnonzero((np.diff(rows) != 1) & ~((rows[:-1] == 249) & (rows[1:] == 0)))
    assert np.median(np.diff(jumps)) > CUT
    # What follows a jump is the beginning of a motion, or any frame of the idle clip.
    entered = rows[jumps + 1]
    assert ((entered < 250) | (entered < 250 + CUT) | ((entered >= 278) & (entered < 278 + CUT))).all()


def test_a_walk_depends_on_its_random_numbers_alone() -> None:
    first, again, other = (walk(300, LENGTHS, np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert (first == again).all()
    assert (first != other).any()


def test_a_start_goes_on_round_the_idle_clip(tmp_path: Path) -> None:
    (tmp_path / "starts.json").write_text(json.dumps({"a": 248}))

    assert read_poses(tmp_path, {"a": 4}, 250)["a"].tolist() == [248, 249, 0, 1]


def test_written_poses_come_before_starts(tmp_path: Path) -> None:
    (tmp_path / "starts.json").write_text(json.dumps({"a": 0}))
    np.savez(tmp_path / "poses.npz", a=np.array([3, 260]))

    assert read_poses(tmp_path, {"a": 2}, 250)["a"].tolist() == [3, 260]
