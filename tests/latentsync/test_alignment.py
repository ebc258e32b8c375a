"""Face alignment against the original's matrices and crops."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.alignment import CROP_SIZE, FaceAligner, crop_face, face_matrix


@pytest.fixture
def reference(shared: Path) -> dict[str, NDArray[Any]]:
    with np.load(shared / "fixtures" / "face_alignment.npz") as arrays:
        return dict(arrays)


def test_affines_of_a_moving_face_match_the_original(reference: dict[str, NDArray[Any]]) -> None:
    aligner = FaceAligner()
    affines = np.array([aligner.align(landmarks) for landmarks in reference["landmarks"]])
    assert np.abs(affines - reference["affine"]).max() <= 1e-6


def test_smoothing_remembers_the_frames_before(reference: dict[str, NDArray[Any]]) -> None:
    aligner = FaceAligner()
    aligner.align(reference["landmarks"][0])
    fresh = FaceAligner().align(reference["landmarks"][1])
    assert np.abs(aligner.align(reference["landmarks"][1]) - fresh).max() > 1e-3


def test_the_crop_matches_the_original(reference: dict[str, NDArray[Any]]) -> None:
    for number, frame in enumerate(reference["frames"]):
        crop = cv2.warpAffine(reference["image"], reference["affine"][frame], CROP_SIZE, borderValue=(127, 127, 127))
        np.testing.assert_array_equal(crop, reference["crop"][number])
        face = crop_face(reference["image"], reference["affine"][frame], 256)
        assert face.shape == (256, 256, 3)
        again = cv2.resize(face, CROP_SIZE, interpolation=cv2.INTER_AREA)
        assert np.abs(again.astype(int) - crop).mean() < 2


@pytest.mark.parametrize("resolution", [128, 256])
def test_the_face_matrix_leads_where_the_crop_shows_it(resolution: int) -> None:
    """A bright spot of the frame lies in the crop at the place that the matrix says."""
    frame = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(frame, (210, 160), 6, (255, 255, 255), -1)
    affine = np.array([[0.9, 0.2, -100.0], [-0.2, 0.9, 80.0]])
    brightness = crop_face(frame, affine, resolution)[..., 0].astype(np.float64)
    weights = np.maximum(brightness - 140, 0)  # above the grey around the frame
    found = [(weights * axis).sum() / weights.sum() for axis in np.indices(weights.shape)[::-1]]
    expected = face_matrix(affine, resolution) @ (210, 160, 1)
    np.testing.assert_allclose(found, expected, atol=0.2)


def test_landmarks_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="68"):
        FaceAligner().align(np.zeros((106, 2)))
