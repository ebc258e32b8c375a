"""In the crossfade of a switch the heads meet: a mark on each of them is seen once, on its way between both places."""

import cv2
import numpy as np
from numpy.typing import NDArray

from streaming.meeting import Picture, Points, crossfaded

_SIDE = 240


def head(x: float, y: float) -> tuple[Picture, Points]:
    """A picture with a white mark where the middle of a face is, and the face's landmarks: a grid of 68 points."""
    picture = np.full((_SIDE, _SIDE, 3), 40, np.uint8)
    cv2.circle(picture, (round(x), round(y)), 5, (255, 255, 255), -1)
    grid = np.stack(np.meshgrid(np.linspace(-40, 40, 17), np.linspace(-40, 40, 4)), axis=-1).reshape(-1, 2)
    return picture, grid + np.array([x, y])


def marks(picture: Picture) -> list[NDArray[np.float64]]:
    """The middle of each bright mark."""
    found = cv2.connectedComponentsWithStats((picture[..., 0] > 100).astype(np.uint8))
    return [np.asarray(centre) for centre in found[3][1:]]


def test_a_mark_is_seen_once_on_its_way() -> None:
    (one, points), (other, others) = head(110, 120), head(130, 112)
    for share in (0.2, 0.5):
        (mark,) = marks(crossfaded(one, other, share, points, others))
        np.testing.assert_allclose(mark, (110 + 20 * share, 120 - 8 * share), atol=1.5)
    assert len(marks(crossfaded(one, other, 0.5))) == 2, "without landmarks it is seen twice"


def test_what_is_far_from_the_face_stays_where_it_is() -> None:
    (one, points), (other, others) = head(110, 120), head(130, 112)
    for picture in (one, other):
        cv2.circle(picture, (12, 12), 5, (255, 255, 255), -1)
    corner = crossfaded(one, other, 0.4, points, others)[:30, :30]
    np.testing.assert_array_equal(corner, one[:30, :30])


def test_faces_that_are_unknown_or_far_apart_are_blended_as_they_are() -> None:
    (one, points), (other, others) = head(60, 120), head(180, 120)
    plain = crossfaded(one, other, 0.3)
    np.testing.assert_array_equal(crossfaded(one, other, 0.3, points, others), plain)
    others[3] = np.nan
    np.testing.assert_array_equal(crossfaded(one, other, 0.3, points, others), plain)


def test_a_face_at_the_edge_of_the_picture_is_no_error() -> None:
    (one, points), (other, others) = head(5, 5), head(12, 9)
    assert crossfaded(one, other, 0.5, points, others).shape == one.shape
