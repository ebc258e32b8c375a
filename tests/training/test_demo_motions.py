"""The demo's motions leave and join the idle clip without a change, and their videos are those that are rendered."""

from pathlib import Path

import pytest

from orchestrator.avatars.video import video_info
from tests.support.checkout import ROOT
from training.avatar.demo_motions import MOTIONS, DemoMotion
from training.avatar.motion import BLINKS, IDLE_FRAMES, idle_state

FOLDER = ROOT / "checkpoints" / "demo" / "avatar" / "motions"


@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
def test_both_ends_are_frames_of_the_idle_clip(motion: DemoMotion) -> None:
    for index in (0, motion.frames - 1):
        shown, idle = motion.state(index), idle_state(motion.first + index)
        assert vars(shown.pose) == pytest.approx(vars(idle.pose), abs=1e-9)
        assert shown.units == pytest.approx(idle.units | dict.fromkeys(shown.units.keys() - idle.units.keys(), 0.0))


@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
def test_no_blink_of_the_idle_clip_falls_into_it(motion: DemoMotion) -> None:
    for blink in BLINKS:
        assert not motion.first <= blink % IDLE_FRAMES < motion.first + motion.frames


@pytest.mark.parametrize("name", MOTIONS)
def test_its_video_is_there_with_all_of_its_frames(name: str) -> None:
    video = Path(FOLDER / f"{name}.mp4")
    info = video_info(video)
    assert info.size == (640, 640) and info.frame_count == MOTIONS[name].frames
