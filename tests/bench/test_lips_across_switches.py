"""The lips of `bench motions`: a switch is told from the pose that it brings, and lips that it disturbs are found."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.motions.lips import Across, LipsAcross, NoSwitchWithinSpeech, lips_across
from bench.motions.spoken import SpokenSwitches
from bench.motions.stand_ins import avatar_of
from bench.virtual_loop import in_virtual_time
from inference.errors import InferenceError
from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES
from tests.support.square_clip import make_clip

FRAMES = 220
OPENINGS = np.random.default_rng(0).integers(0, 100, 1000)
"""How far a mouth is open by the frame that it hears."""
POSES = np.random.default_rng(1).integers(0, 100, (2, 60))
"""What a clip's frame adds to it, since the head is turned."""
HEARD = 4 * 5


class PoseMouth:
    """Stands where the networks stand: its one pixel says how far it is open, and is brighter in some poses.

    With `disturbed` it hears three frames late in each chunk in which there is a switch.
    """

    def __init__(self, disturbed: bool = False) -> None:
        self._disturbed = disturbed

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        shape = CONTRACT.features_shape(len(window))
        return np.broadcast_to(np.arange(shape[0], dtype=np.float16)[:, None, None], shape).copy()

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        await asyncio.sleep(len(audio) / 60)
        frames, clips = condition[:, 0, 0, 0].astype(int), condition[:, 0, 0, 1].astype(int)
        late = 3 if self._disturbed and len(set(clips)) > 1 else 0
        open_by = OPENINGS[np.maximum(0, audio[:, HEARD, 0].astype(int) // 2 - late)] + POSES[clips, frames]
        return np.repeat(open_by.astype(np.uint8)[:, None, None, None], 3, axis=3)

    async def recover(self, error: InferenceError) -> bool:
        return False


def openings(faces: NDArray[np.uint8]) -> NDArray[np.float64]:
    return faces[:, 0, 0, 0].astype(np.float64)


def windows(folder: Path, models: PoseMouth) -> list[Across]:
    idle = make_clip(folder / "idle.mp4", frames=40, marked=False)
    motion = make_clip(
        folder / "motion.mp4", frames=40, marked=False, column=lambda frame: 60 + 2 * min(frame, 39 - frame)
    )
    avatar = avatar_of(idle, [("bow", motion)], folder / "avatar")
    speeches = [folder / "one", folder / "two"]
    for speech in speeches:
        speech.write_bytes(bytes(FRAMES * 2 * (CONTRACT.samples_per_frame + SOUND_FRAME_SAMPLES)))
    return in_virtual_time(SpokenSwitches(avatar, models, 1, 1.0).windows(speeches, 0))


def measured(folder: Path, models: PoseMouth) -> LipsAcross:
    return lips_across("a mouth", 2, windows(folder, models), openings)


def test_a_switch_that_leaves_the_lips_alone_is_told_from_the_pose_that_it_brings(tmp_path: Path) -> None:
    lips = measured(tmp_path, PoseMouth())
    assert lips.switches == 4, "into the motion and back, in each speech"
    assert lips.same_pose.least == 1.0, "each frame is compared in the very pose in which it was shown"
    assert lips.idle_alone == lips.poses_alone, "all that is missing there comes from the poses"
    assert lips.idle_alone.mean < 0.8
    assert not lips.broken


def test_lips_that_a_switch_disturbs_are_found(tmp_path: Path) -> None:
    lips = measured(tmp_path, PoseMouth(disturbed=True))
    assert lips.same_pose.mean < 0.9
    assert any("lips across a switch" in each for each in lips.broken)


def test_lips_that_are_late_have_no_likeness(tmp_path: Path) -> None:
    of = windows(tmp_path, PoseMouth())
    lips = lips_across("a mouth", 2, [replace(each, shown=each.late) for each in of], openings)
    assert lips.same_pose == lips.late
    assert abs(lips.late.mean) < 0.5


def test_speeches_without_a_switch_are_an_error_and_no_good_figure() -> None:
    with pytest.raises(NoSwitchWithinSpeech, match="no switch lies within a speech"):
        lips_across("a mouth", 1, [], openings)
