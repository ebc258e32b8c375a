"""Which face speaks, on which frames, and what the errors name."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.avatars.errors import FaceTooSmall, FaceTurned, NoFace, named_frames
from orchestrator.avatars.faces import FoundFace, face_turn
from orchestrator.avatars.tracking import FaceTracker, Track
from tests.support.drawn_face import DrawnFace, Script, drawn_face

FRAMES = 100
BLANK = np.zeros((480, 640, 3), np.uint8)


def track(
    faces: Callable[[int], Sequence[DrawnFace]], face_at: tuple[float, float] | None = None, frames: int = FRAMES
) -> Track:
    tracker = FaceTracker(Script(faces), face_at)
    for _ in range(frames):
        tracker.see(BLANK)
    return tracker.track()


def speakable(found: Track) -> list[int]:
    return [int(place) for place in np.flatnonzero(np.isfinite(found.affines).all(axis=(1, 2)))]


def walking(frame: int) -> DrawnFace:
    return drawn_face(200 + frame, 240)


def test_face_seen_in_every_frame_speaks_in_every_frame() -> None:
    found = track(lambda frame: [walking(frame)])
    assert speakable(found) == list(range(FRAMES))
    assert found.landmarks.shape == (FRAMES, 68, 2)
    assert found.faces == 1


@pytest.mark.parametrize("length", [1, 12])
def test_face_lost_for_a_moment_is_bridged_on_a_straight_line(length: int) -> None:
    whole = track(lambda frame: [walking(frame)])
    found = track(lambda frame: [] if 40 <= frame < 40 + length else [walking(frame)])
    assert speakable(found) == list(range(FRAMES))
    assert np.isnan(found.landmarks[40]).all(), "what was not seen is not claimed"
    np.testing.assert_allclose(found.affines, whole.affines, atol=0.5)


def test_frames_of_a_longer_loss_are_left_out() -> None:
    found = track(lambda frame: [] if 40 <= frame < 53 else [walking(frame)])
    assert speakable(found) == [*range(40), *range(53, FRAMES)]


def test_face_lost_at_an_end_is_left_out_since_nobody_knows_where_it_was() -> None:
    found = track(lambda frame: [] if frame < 3 or frame >= 97 else [walking(frame)])
    assert speakable(found) == list(range(3, 97))


def test_a_cut_to_another_place_is_not_bridged() -> None:
    far = track(lambda frame: [] if 40 <= frame < 43 else [drawn_face(150 if frame < 40 else 480, 240)])
    assert speakable(far) in (list(range(40)), list(range(43, FRAMES))), "that far it is somebody else"
    near = track(lambda frame: [] if 40 <= frame < 48 else [drawn_face(150 if frame < 40 else 260, 240)])
    assert speakable(near) == [*range(40), *range(48, FRAMES)]


def test_smoothing_starts_afresh_after_a_loss() -> None:
    found = track(lambda frame: [] if 40 <= frame < 60 else [walking(frame)])
    late = track(lambda frame: [walking(frame + 60)], frames=40)
    np.testing.assert_allclose(found.affines[60:], late.affines)


def test_largest_face_speaks_and_is_followed_where_two_cross() -> None:
    def faces(frame: int) -> list[DrawnFace]:
        one, other = drawn_face(100 + 4 * frame, 240, 110), drawn_face(540 - 4 * frame, 300, 80)
        return [one, other] if frame % 2 else [other, one]

    found = track(faces)
    assert found.faces == 2
    centres = found.landmarks.mean(axis=1)[:, 0]
    np.testing.assert_allclose(np.diff(centres), 4, atol=0.01)


def test_the_face_that_the_user_names_speaks() -> None:
    def faces(frame: int) -> list[DrawnFace]:
        return [drawn_face(150, 240, 120), drawn_face(480, 240, 80)]

    assert track(faces).landmarks.mean(axis=1)[0, 0] < 320
    assert track(faces, face_at=(0.75, 0.5)).landmarks.mean(axis=1)[0, 0] > 320


def test_false_detections_of_a_moment_are_not_taken_for_the_named_face() -> None:
    def faces(frame: int) -> list[DrawnFace]:
        return [drawn_face(150, 240, 120), *([drawn_face(600, 440, 60)] if frame in (5, 6) else [])]

    assert track(faces, face_at=(0.9, 0.9)).landmarks.mean(axis=1)[0, 0] < 320


def test_face_that_the_detector_misses_is_looked_for_where_it_was() -> None:
    class Follows(Script):
        def follow(self, frame: NDArray[Any], face: FoundFace) -> FoundFace | None:
            return DrawnFace(face.landmarks + 1)

    tracker = FaceTracker(Follows(lambda frame: [] if 40 <= frame < 60 else [walking(frame)]))
    for _ in range(FRAMES):
        tracker.see(BLANK)
    found = tracker.track()
    assert np.isfinite(found.landmarks[40:60]).all()
    assert speakable(found) == list(range(FRAMES))


def test_clip_without_a_face_is_named() -> None:
    with pytest.raises(NoFace, match=r"no face was found in 100 of 100 frames \(at 25 frames/s: 0–99\)\. Use"):
        track(lambda frame: [])


def test_clip_on_which_nobody_could_speak_for_a_second_is_refused() -> None:
    with pytest.raises(NoFace, match=r"20 usable frames in a row, and 25 are needed") as caught:
        track(lambda frame: [walking(frame)] if frame % 40 < 20 else [])
    assert caught.value.frames == [*range(20, 40), *range(60, 80)]


def test_face_that_is_too_small_is_refused() -> None:
    with pytest.raises(FaceTooSmall, match=r"too small in 100 of 100 frames .*--max-height"):
        track(lambda frame: [drawn_face(200, 240, 40)])
    found = track(lambda frame: [drawn_face(200, 240, 40 if frame >= 60 else 55)])
    assert speakable(found) == list(range(60))


def test_face_that_is_turned_away_is_refused_and_a_glance_is_not() -> None:
    with pytest.raises(FaceTurned, match=r"turned too far to the side in 100 of 100"):
        track(lambda frame: [drawn_face(200, 240, turn=-0.9)])
    glance = track(lambda frame: [drawn_face(200, 240, turn=0.9 if 50 <= frame < 60 else 0)])
    assert speakable(glance) == list(range(FRAMES))
    look_away = track(lambda frame: [drawn_face(200, 240, turn=0.9 if 50 <= frame < 80 else 0)])
    assert speakable(look_away) == [*range(50), *range(80, FRAMES)]


def test_a_tilted_head_is_not_turned() -> None:
    face = drawn_face(200, 240, turn=0.3)
    angle = np.radians(30)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert face_turn(face.landmarks @ tilt.T) == pytest.approx(face_turn(face.landmarks), abs=0.01)


def test_long_lists_of_frames_stay_readable() -> None:
    assert named_frames([3]) == "3"
    assert named_frames([0, 1, 2, 7, 9, 10]) == "0–2, 7, 9–10"
    assert named_frames(range(0, 40, 2)) == "0, 2, 4, 6, 8, 10, 12, 14 and 12 more"


def test_affines_are_for_the_crop_of_the_resolution() -> None:
    def affines(resolution: int) -> NDArray[np.float64]:
        tracker = FaceTracker(Script(lambda frame: [walking(frame)]), resolution=resolution)
        for _ in range(FRAMES):
            tracker.see(BLANK)
        return tracker.track().affines

    np.testing.assert_allclose(affines(512)[..., :2], 2 * affines(256)[..., :2])
