"""The path of frames over clips: what it promised stays true, and it is left and joined where frames look alike."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from latentsync.avatar import Loop, path_index
from latentsync.clip_path import IDLE, ClipPath, Detour, Priority, Shown
from latentsync.switching import DEFAULT_BOUND, MotionClip, MotionRefused, SwitchPlanner

IDLE_FRAMES, MOTION_FRAMES = 40, 30


def idle(position: int) -> int:
    return path_index(position, IDLE_FRAMES, Loop.PINGPONG)


def motion(step: int) -> int:
    return path_index(step, MOTION_FRAMES, Loop.PINGPONG)


PERIOD = 2 * (IDLE_FRAMES - 1)


def make(alike: tuple[tuple[int, int], ...] = ((10, 0), (30, MOTION_FRAMES - 1)), far: float = 20.0) -> SwitchPlanner:
    """Idle and motion differ everywhere by `far`, but for neighbourhoods of the pairs (idle frame, motion frame)."""
    rows, columns = np.mgrid[:IDLE_FRAMES, :MOTION_FRAMES]
    near = [np.abs(rows - i) + np.abs(columns - m) for i, m in alike]
    difference = np.minimum(far, np.minimum.reduce(near)).astype(np.float32)
    path = ClipPath({IDLE: idle, "wave": motion, "nod": motion})
    clip = MotionClip(motion, MOTION_FRAMES, difference, ordinary=1.0)
    return SwitchPlanner(path, idle, PERIOD, {"wave": clip, "nod": clip})


def opacity(shown: Shown, clip: str) -> float:
    """How much of a position's picture is of a clip."""
    if shown.clip == clip:
        return 1 - shown.other_share if shown.other_clip != clip else 1.0
    return shown.other_share if shown.other_clip == clip else 0.0


def test_without_motions_every_position_shows_idle() -> None:
    path = ClipPath({IDLE: idle})
    assert [path.at(position) for position in range(200)] == [Shown(IDLE, idle(position)) for position in range(200)]


def test_a_switch_goes_at_the_frames_that_look_alike() -> None:
    planner = make()
    detour = planner.play("wave", earliest=0)
    assert abs(idle(detour.start) - 10) + motion(detour.entry) <= 4
    assert detour.end is not None
    joined = detour.end - detour.fade_out
    assert abs(idle(joined + detour.idle_shift) - 30) <= 6
    assert MOTION_FRAMES - 1 - motion(detour.step(joined)) <= 6


def test_a_switch_is_made_within_the_bound_however_badly_it_matches() -> None:
    for earliest in range(0, 2 * PERIOD, 7):
        detour = make().play("wave", earliest)
        assert earliest <= detour.start <= earliest + DEFAULT_BOUND
        exact = make().play("wave", earliest, bound=0)
        assert exact.start == earliest


def test_of_equal_matches_the_first_is_taken() -> None:
    assert make(far=0.0).play("wave", 5).start == 5


def test_a_motion_that_ends_by_itself_is_what_stopping_waits_for() -> None:
    planner = make()
    detour = planner.play("wave", 0)
    assert detour.end is not None
    assert planner.stop(detour.end - 3) == detour
    assert planner.stop(detour.end) is None


def test_the_crossfade_is_as_long_as_the_clips_differ() -> None:
    alike, far = make(far=0.0).play("wave", 0), make(alike=((500, 500),), far=4.0).play("wave", 0)
    assert alike.fade_in == alike.fade_out == 1
    assert far.fade_in == 7, "each of its frames may add half an ordinary step: 4 grey levels in 8 steps of 0.5"
    longest = make(alike=((500, 500),), far=100.0).play("wave", 0)
    assert longest.fade_in == 12


def test_the_path_never_jumps() -> None:
    """From one position to the next every clip goes on by one frame, and opacity changes by one step of the fade."""
    planner = make()
    planner.play("wave", 20)
    planner.play("nod", 25)
    planner.play("wave", 300, repeat=3)
    path = planner.path
    shown = [path.at(position) for position in range(600)]
    for position, (before, after) in enumerate(pairwise(shown)):
        for clip in (IDLE, "wave", "nod"):
            change = abs(opacity(after, clip) - opacity(before, clip))
            assert change <= 0.5 + 1e-9, f"cut at {position}: {before} → {after}"
            if opacity(before, clip) and opacity(after, clip):
                frames = [each.frame if each.clip == clip else each.other_frame for each in (before, after)]
                assert abs(frames[1] - frames[0]) <= 1, f"jump at {position}: {before} → {after}"


def test_nothing_changes_before_the_earliest_position() -> None:
    """Faces were made for what was promised there."""
    random = np.random.default_rng(3)
    for _ in range(50):
        planner = make(alike=tuple((int(i), int(m)) for i, m in random.integers(0, 30, (3, 2))))
        path, earliest = planner.path, 0
        for _ in range(12):
            promised = [path.at(position) for position in range(earliest)]
            try:
                if random.random() < 0.3:
                    planner.stop(earliest, priority=Priority(int(random.integers(0, 4))))
                else:
                    repeat = None if random.random() < 0.2 else int(random.integers(1, 4))
                    name = str(random.choice(["wave", "nod"]))
                    planner.play(name, earliest, repeat, Priority(int(random.integers(0, 4))))
            except MotionRefused:
                pass
            assert [path.at(position) for position in range(earliest)] == promised
            for one, other in pairwise(path.detours):
                assert one.end is not None and one.end <= other.start
            earliest += int(random.integers(0, 60))


def test_a_motion_of_the_same_priority_waits_for_the_end_of_the_one_before() -> None:
    planner = make()
    first = planner.play("wave", 0)
    second = planner.play("nod", first.start + 2)
    assert first.end is not None and second.start >= first.end


def test_a_higher_priority_cuts_a_motion_short_and_a_lower_one_waits() -> None:
    planner = make()
    low = planner.play("wave", 0, repeat=20, priority=Priority.SCHEDULE)
    asked = low.start + 30
    high = planner.play("nod", asked, priority=Priority.REQUEST)
    left = planner.path.detours[0]
    assert left.end is not None and asked <= left.end <= high.start
    assert left.end <= asked + DEFAULT_BOUND + left.fade_out
    later = planner.play("wave", asked, priority=Priority.SCHEDULE)
    assert high.end is not None and later.start >= high.end


def test_a_motion_without_an_end_plays_until_it_is_stopped() -> None:
    planner = make()
    held = planner.play("wave", 0, repeat=None)
    path = planner.path
    assert path.motion(held.start + 10_000) == held
    with pytest.raises(MotionRefused, match="'wave' plays until it is stopped"):
        planner.play("nod", 50, priority=Priority.SCHEDULE)
    left = planner.stop(2000)
    assert left is not None and left.end is not None and 2000 <= left.end <= 2000 + DEFAULT_BOUND + left.fade_out
    assert path.motion(left.end) is None


def test_unknown_motions_and_too_many_are_refused_by_name() -> None:
    planner = make()
    with pytest.raises(MotionRefused, match="no motion 'bow'; there is nod, wave"):
        planner.play("bow", 0)
    for _ in range(4):
        planner.play("wave", 0)
    with pytest.raises(MotionRefused, match="4 motions wait"):
        planner.play("wave", 0)


def test_a_position_far_from_a_speech_has_a_near_one_that_goes_on_the_same_way() -> None:
    planner = make()
    path = planner.path
    planner.play("wave", 100)
    end = path.detours[-1].end
    assert end is not None
    for target in (1000, 1033):
        for position in (3, 50, end + 5):
            near = path.nearest_equal(position, target, PERIOD)
            assert abs(near - target) <= PERIOD // 2
            shown = [[path.at(p + step).frame for step in range(3)] for p in (position, near)]
            assert shown[0] == shown[1]
    inside = path.detours[0].start + 3
    assert path.nearest_equal(inside, 1000, PERIOD) == inside, "a motion goes on to its end"
    assert path.nearest_equal(1000, 1010, PERIOD) == 1000, "that is near already"


def test_a_path_travels_as_json() -> None:
    planner = make()
    planner.play("wave", 0, repeat=None, priority=Priority.STATE)
    path = planner.path
    assert ClipPath.detours_from_json(path.to_json()) == path.detours


def test_old_detours_are_forgotten_and_what_follows_stays() -> None:
    planner = make()
    path = planner.path
    for earliest in (0, 200, 400):
        planner.play("wave", earliest)
    shown = [path.at(position) for position in range(350, 700)]
    path.forget_before(350)
    assert len(path.detours) == 2
    assert [path.at(position) for position in range(350, 700)] == shown


def test_detours_are_values() -> None:
    detour = Detour("wave", 3, 20, 0, 2, 2, 5)
    assert replace(detour, end=None).covers(10_000) and not detour.covers(20)


def test_a_motion_that_is_removed_is_left_soon_and_taken_back_where_it_waits() -> None:
    planner = make()
    shown = planner.play("wave", earliest=0, repeat=None)
    planner.remove("wave", earliest=shown.start + 40)
    (left,) = planner.path.detours
    assert left.end is not None
    assert shown.start + 40 < left.end <= shown.start + 40 + DEFAULT_BOUND + left.fade_out
    with pytest.raises(MotionRefused, match="no motion 'wave'; there is nod"):
        planner.play("wave", earliest=left.end)
    first = planner.play("nod", earliest=left.end)
    planner.add("wave", planner._motions["nod"])
    waiting = planner.play("wave", earliest=left.end)
    assert first.end is not None and waiting.start >= first.end
    planner.remove("wave", earliest=first.start)
    assert planner.path.detours == (left, first), "what others are shown stays as it was promised"
    with pytest.raises(MotionRefused, match="no motion 'wave'"):
        planner.remove("wave", earliest=0)
