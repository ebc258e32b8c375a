"""The demo's second presenter."""

from training.people.identity import draw_identity
from training.people.man import man


def test_he_has_the_shape_that_was_drawn_and_a_mouth_that_does_not_look_sad() -> None:
    drawn, he = draw_identity(2254), man()

    assert sum(share for name, share in he.shape.items() if "-male-" in name and "universal" not in name) > 0.9
    assert he.shape["macrodetails/caucasian-male-young"] == drawn.shape["macrodetails/caucasian-male-young"]
    assert not {"mouth/mouth-angles-down", "mouth/mouth-trans-down"} & he.shape.keys()
    assert he.skin.beard == 0 and he.glasses is None
