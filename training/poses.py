"""On which frame of the avatar's clips each frame of a speech is shown, in a data set folder.

`starts.json` says at which frame of the idle clip a speech starts; it goes on frame by frame. Where a data set has
motions too, `poses.npz` says the frame of every frame of speech: an index into idle.npy, which then holds the frames of
all clips, one clip after another.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IDLE_STRETCH = (12, 72)
"""Frames of idle between two motions."""
CUT = 12
"""As many frames of a motion at most are left out at either end, as when it is switched to."""

Poses = NDArray[np.int64]


def walk(frames: int, lengths: Sequence[int], rng: np.random.Generator) -> Poses:
    """The shown frames [frames] of a speech that wanders between idle and motions, half of the time in each.

    `lengths` are those of the idle clip, which repeats, and of each motion.
    """
    first = np.cumsum(lengths) - np.asarray(lengths)
    rows: list[Poses] = []
    count = 0
    idle_next = bool(rng.random() < 0.5)
    while count < frames:
        if idle_next:
            part = (int(rng.integers(lengths[0])) + np.arange(int(rng.integers(*IDLE_STRETCH)))) % lengths[0]
        else:
            which = int(rng.integers(1, len(lengths)))
            cut = min(CUT, lengths[which] // 4)
            part = np.arange(int(rng.integers(cut)), lengths[which] - int(rng.integers(cut))) + first[which]
        rows.append(part.astype(np.int64))
        count += len(part)
        idle_next = not idle_next
    return np.concatenate(rows)[:frames]


def read_poses(folder: Path, frames: Mapping[str, int], idle_frames: int) -> dict[str, Poses]:
    """The shown frames of each speech, whose lengths are `frames`. Raises FileNotFoundError where nothing says them."""
    if (folder / "poses.npz").exists():
        with np.load(folder / "poses.npz") as poses:
            return {name: np.asarray(poses[name], np.int64) for name in frames}
    starts = json.loads((folder / "starts.json").read_text())
    return {name: (starts[name] + np.arange(count, dtype=np.int64)) % idle_frames for name, count in frames.items()}
