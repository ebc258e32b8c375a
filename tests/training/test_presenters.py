"""What the demo's presenters do in their clips."""

import pytest

from training.avatar.motion import FaceState, Pose, mirrored, talking_state
from training.presenters import IDLE, PRESENTERS


def test_a_mirror_swaps_sides_and_twice_is_nothing() -> None:
    state = FaceState(
        {"eyeBlinkLeft": 1.0, "jawOpen": 0.2}, Pose(yaw=0.1, pitch=0.2, roll=0.3, gaze_yaw=-0.1, sway_x=1)
    )

    seen = mirrored(state)

    assert seen.units == {"eyeBlinkRight": 1.0, "jawOpen": 0.2}
    assert seen.pose == Pose(yaw=-0.1, pitch=0.2, roll=-0.3, gaze_yaw=0.1, sway_x=-1)
    assert mirrored(seen) == state


def test_speech_keeps_the_pose_of_the_motion_and_less_of_its_smile() -> None:
    bowed = FaceState({"mouthSmileLeft": 0.5, "browInnerUp": 0.4}, Pose(pitch=0.15))

    talking = talking_state(bowed, {"jawOpen": 0.3})

    assert talking.pose == bowed.pose
    assert talking.units == pytest.approx({"mouthSmileLeft": 0.2, "browInnerUp": 0.4, "jawOpen": 0.3})


def test_presenters_do_the_same_in_mirrored_poses() -> None:
    woman, man = (PRESENTERS[name].states() for name in ("woman", "man"))

    assert next(iter(woman)) == IDLE
    assert {name: len(states) for name, states in woman.items()} == {name: len(states) for name, states in man.items()}
    assert man["thinking"][20].pose.yaw == -woman["thinking"][20].pose.yaw != 0
