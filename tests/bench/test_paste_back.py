"""The measurement of paste-back: what it says, and that it is beside the original's own picture."""

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.paste_back import bench_paste_back, whole_picture_paste
from orchestrator.cli import app
from tests.support.synthetic_avatar import write_avatar

DATE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_whole_picture_way_is_the_originals(shared: Path) -> None:
    reference = np.load(shared / "fixtures" / "face_alignment.npz")
    for number, frame in enumerate(reference["frames"]):
        face = 255 - reference["crop"][number]
        picture = whole_picture_paste(reference["image"], face, reference["affine"][frame])
        np.testing.assert_array_equal(picture, reference["restored_from_inverted_crop"][number])


def test_figures_are_those_of_the_clock(tmp_path: Path) -> None:
    ticks = itertools.count()
    avatar = write_avatar(tmp_path / "avatars")
    record = json.loads(bench_paste_back(DATE, avatar, repeats=2, clock=lambda: next(ticks) / 1000).to_json())
    (size,) = record["sizes"]
    assert (size["width"], size["height"]) == avatar.frame_size
    assert size["paste_ms"] == size["whole_picture_ms"] == pytest.approx(1)
    assert size["ratio"] == pytest.approx(1)
    assert record["date"] == "2026-01-02T03:04:05+00:00"
    assert record["machine"]["cores"] >= 1


def test_drawn_faces_may_be_large_and_cover_as_much_of_the_picture() -> None:
    ticks = itertools.count()
    small, large = (
        bench_paste_back(DATE, repeats=1, clock=lambda: next(ticks) / 1000, resolution=resolution)
        for resolution in (256, 512)
    )
    assert (small.resolution, large.resolution) == (256, 512)
    for one, other in zip(small.sizes, large.sizes, strict=True):
        np.testing.assert_allclose(one.rectangle, other.rectangle, atol=6)


def test_the_command_prints_both_sizes_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_DATA_DIR", str(tmp_path))
    result = CliRunner().invoke(app, ["bench", "paste-back", "--json"])
    assert result.exit_code == 0, result.output
    sizes = json.loads(result.output)["sizes"]
    assert [(size["width"], size["height"]) for size in sizes] == [(832, 1248), (1080, 1920)]
    assert all(size["ratio"] > 0 for size in sizes)
    assert CliRunner().invoke(app, ["bench", "paste-back", "--avatar", "nobody"]).exit_code == 1
