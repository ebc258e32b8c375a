"""Pasting faces back: the original's picture, and nothing touched but the face."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.mask import paste_mask
from latentsync.paste_back import PasteBack

FRAME_SIZE = (320, 240)
FACE = 64
CROP = (210, 280)


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def matrix_at(left: float, top: float, scale: float = 0.6, turn: float = 0.1) -> NDArray[np.float64]:
    """Frame pixels to face crop pixels, with the crop's corner near (left, top)."""
    turned = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.column_stack([turned, -turned @ (left, top)])


def test_pictures_match_the_originals(shared: Path) -> None:
    reference = np.load(shared / "fixtures" / "face_alignment.npz")
    height, width = reference["image"].shape[:2]
    paste_back = PasteBack(reference["affine"], (width, height), CROP)
    for number, frame in enumerate(reference["frames"]):
        picture = reference["image"].copy()
        paste_back.paste(picture, 255 - reference["crop"][number], int(frame))
        difference = np.abs(picture.astype(int) - reference["restored_from_inverted_crop"][number])
        assert difference.max() <= 1


@pytest.mark.parametrize("mask", [None, paste_mask(FACE)])
@pytest.mark.parametrize("corner", [(80, 60), (-40, -30), (270, 200)])
def test_nothing_outside_the_rectangle_changes_and_something_inside_does(
    mask: NDArray[np.float32] | None, corner: tuple[int, int]
) -> None:
    paste_back = PasteBack(matrix_at(*corner)[None], FRAME_SIZE, FACE, mask)
    before = noise(240, 320, 3)
    after = before.copy()
    paste_back.paste(after, noise(FACE, FACE, 3, seed=1), 0)
    left, top, width, height = paste_back.rectangle(0)
    assert (after[top : top + height, left : left + width] != before[top : top + height, left : left + width]).any()
    after[top : top + height, left : left + width] = before[top : top + height, left : left + width]
    np.testing.assert_array_equal(after, before)


def test_pixels_outside_the_soft_mask_keep_their_bits_inside_the_rectangle_too() -> None:
    mask = paste_mask(FACE)
    matrix = matrix_at(80, 60)
    before = noise(240, 320, 3)
    after = before.copy()
    PasteBack(matrix[None], FRAME_SIZE, FACE, mask).paste(after, noise(FACE, FACE, 3, seed=1), 0)
    weight = cv2.warpAffine(mask, matrix, FRAME_SIZE, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    # A 32nd of a pixel is what the warp may be off, where the mask is steepest.
    untouched = cv2.dilate(weight, np.ones((3, 3), np.uint8)) == 0
    np.testing.assert_array_equal(after[untouched], before[untouched])
    assert (after[weight == 1] != before[weight == 1]).any(axis=1).mean() > 0.95


def test_pasting_what_is_there_already_changes_next_to_nothing() -> None:
    smooth = cv2.GaussianBlur(noise(240, 320, 3), (0, 0), 8)
    matrix = matrix_at(80, 60, scale=1.0)
    face = cv2.warpAffine(smooth, matrix, (FACE, FACE))
    after = smooth.copy()
    PasteBack(matrix[None], FRAME_SIZE, FACE, paste_mask(FACE)).paste(after, face, 0)
    assert np.abs(after.astype(int) - smooth).max() <= 3


def test_opacity_crossfades_from_the_frame_to_the_face() -> None:
    paste_back = PasteBack(matrix_at(80, 60)[None], FRAME_SIZE, FACE, paste_mask(FACE))
    before, face = np.zeros((240, 320, 3), np.uint8), np.full((FACE, FACE, 3), 200, np.uint8)
    brightest = []
    for opacity in (0.0, 0.25, 0.5, 1.0):
        frame = before.copy()
        paste_back.paste(frame, face, 0, opacity)
        brightest.append(int(frame.max()))
    assert brightest == [0, 50, 100, 200]


def test_each_frame_has_its_own_place() -> None:
    paste_back = PasteBack(np.stack([matrix_at(20, 20), matrix_at(150, 90)]), FRAME_SIZE, FACE, paste_mask(FACE))
    assert len(paste_back) == 2
    face = np.full((FACE, FACE, 3), 255, np.uint8)
    centres = []
    for index in range(2):
        frame = np.zeros((240, 320, 3), np.uint8)
        paste_back.paste(frame, face, index)
        centres.append(np.argwhere(frame[..., 0] > 128).mean(axis=0))
    np.testing.assert_allclose(centres[1] - centres[0], (70, 130), atol=1)


def test_a_face_out_of_the_picture_is_pasted_nowhere() -> None:
    paste_back = PasteBack(matrix_at(2000, 2000)[None], FRAME_SIZE, FACE, paste_mask(FACE))
    before = noise(240, 320, 3)
    after = before.copy()
    paste_back.paste(after, noise(FACE, FACE, 3, seed=1), 0)
    np.testing.assert_array_equal(after, before)


def test_wrong_sizes_are_refused() -> None:
    paste_back = PasteBack(matrix_at(80, 60)[None], FRAME_SIZE, FACE)
    with pytest.raises(ValueError, match="got shapes"):
        paste_back.paste(noise(240, 320, 3), noise(32, 32, 3), 0)
    with pytest.raises(ValueError, match="got shapes"):
        paste_back.paste(noise(320, 240, 3), noise(FACE, FACE, 3), 0)
    with pytest.raises(ValueError, match=r"\[N, 2, 3\]"):
        PasteBack(matrix_at(80, 60), FRAME_SIZE, FACE)
    with pytest.raises(ValueError, match="mask"):
        PasteBack(matrix_at(80, 60)[None], FRAME_SIZE, FACE, paste_mask(128))
