"""The measurement of switches, on small clips: what it counts is counted by the product's own parts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.machine import Machine
from bench.motions.run import MotionsPlan, MotionsRecord, run_motions
from orchestrator.channels.shared_path import SharedPath
from tests.support.square_clip import make_clip

MACHINE = Machine("a processor", 2, 1.0, (), {})


def measured(folder: Path) -> MotionsRecord:
    idle = make_clip(folder / "idle.mp4", frames=40, marked=False)
    motion = make_clip(
        folder / "motion.mp4", frames=40, marked=False, column=lambda frame: 60 + 2 * min(frame, 39 - frame)
    )
    return run_motions(MotionsPlan(8, 1, idle, (motion,), cost_frames=10), MACHINE, datetime.now(UTC))


def test_every_face_is_made_for_the_frame_that_it_is_shown_on(tmp_path: Path) -> None:
    record = measured(tmp_path)
    assert (record.switches_idle, record.switches_speaking) == (4, 4)
    assert record.made_for_another_frame == record.missing_frames == record.late_frames == 0
    assert record.sound_without_its_face == 0
    assert record.to_motion_idle_s.most <= 1.1, "a second at most, and the tick in which it was asked for"
    assert '"switch_ratio"' in record.to_json()


def test_a_path_that_changes_under_made_faces_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedPath, "_promised", property(lambda self: 0, lambda self, value: None), raising=False)
    record = measured(tmp_path)
    assert record.made_for_another_frame > 0
    assert any("faces made for another frame" in each for each in record.broken)
