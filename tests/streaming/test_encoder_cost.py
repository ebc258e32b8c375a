"""What encoding costs on this machine, measured with the real ffmpeg; and what is made of the figures."""

import shutil
from pathlib import Path

import pytest

from streaming import encoder_cost
from streaming.encoder_cost import EncoderCost, EncoderCostError, known_cost, measured_cost

FFMPEG = shutil.which("ffmpeg") or "ffmpeg"
COST = EncoderCost({"veryfast": 0.02, "ultrafast": 0.005})


def test_a_size_that_fits_is_its_own_suggestion_and_a_larger_one_gets_a_smaller_of_its_shape() -> None:
    assert COST.cores("veryfast", (1000, 1000)) == pytest.approx(0.5)
    assert COST.suggestion("veryfast", (1000, 1000)) == (1000, 1000)
    assert not COST.fits("veryfast", (1080, 1920))
    assert COST.suggestion("veryfast", (1080, 1920)) == (810, 1440)
    assert COST.fits("ultrafast", (1080, 1920))


def test_the_sentence_names_cost_and_advice() -> None:
    sentence = COST.sentence("veryfast", (1080, 1920))
    assert "1080×1920 takes about 1.04 cores" in sentence and "810×1440 would take 0.58" in sentence
    assert "more than" not in COST.sentence("ultrafast", (1080, 1920))
    assert "was not measured" in COST.sentence("slow", (64, 64))


def test_it_is_measured_once_and_known_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "encoder-cost.json"
    assert known_cost(file, FFMPEG) is None
    cost = measured_cost(file, FFMPEG)
    assert list(cost.core_s_per_megapixel) == list(encoder_cost.PRESETS)
    assert cost.core_s_per_megapixel["ultrafast"] < cost.core_s_per_megapixel["medium"]
    monkeypatch.setattr(encoder_cost, "measure", lambda ffmpeg: pytest.fail("it is known"))
    assert measured_cost(file, FFMPEG) == known_cost(file, FFMPEG) == cost


def test_figures_of_another_ffmpeg_or_a_damaged_file_count_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "encoder-cost.json"
    measured_cost(file, FFMPEG)
    other = tmp_path / "ffmpeg"
    other.write_text("#!/bin/sh\n")
    assert known_cost(file, str(other)) is None
    file.write_text("{")
    assert known_cost(file, FFMPEG) is None


def test_an_ffmpeg_that_fails_is_named_with_its_words(tmp_path: Path) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho no libx264 >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(EncoderCostError, match="no libx264"):
        measured_cost(tmp_path / "cost.json", str(broken))
