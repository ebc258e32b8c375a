"""Face alignment against the original's matrices and crops."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.alignment import CROP_SIZE, AnchorAligner, FaceAligner, crop_face, crop_size, face_matrix
from latentsync.paste_back import PasteBack


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


def later_reference(shared: Path, resolution: int) -> dict[str, NDArray[Any]]:
    """What LatentSync 1.6 made of a moving face; the picture lies in one of the two files."""
    folder = shared / "fixtures" / "v1_5"
    with (
        np.load(folder / "face_alignment_256.npz") as first,
        np.load(folder / f"face_alignment_{resolution}.npz") as arrays,
    ):
        return {**arrays, "image": first["image"]}


@pytest.mark.parametrize("resolution", [256, 512])
def test_affines_of_later_versions_match_the_original(shared: Path, resolution: int) -> None:
    reference = later_reference(shared, resolution)
    aligner = AnchorAligner(resolution, sample_deviation=True)
    affines = np.array([aligner.align(anchors.astype(np.float64)) for anchors in reference["anchors"]])
    linear, shift = np.abs(affines - reference["affine"])[..., :2].max(), np.abs(affines - reference["affine"]).max()
    assert linear <= 1e-5 * np.abs(reference["affine"][..., :2]).max()
    assert shift <= 1e-5 * np.abs(reference["affine"]).max()


def test_large_faces_are_aligned_as_the_later_versions_do() -> None:
    anchors = np.array([[100.0, 100], [160, 102], [131, 150]])
    for resolution, later in ((256, False), (512, True)):
        expected = AnchorAligner(resolution, sample_deviation=later).align(anchors)
        other = AnchorAligner(resolution, sample_deviation=not later).align(anchors)
        np.testing.assert_array_equal(AnchorAligner(resolution).align(anchors), expected)
        assert np.abs(expected - other).max() > 1e-3


def test_a_mirrored_face_is_not_reflected() -> None:
    mirrored = np.array([[160.0, 100], [100, 100], [130, 150]])
    assert np.linalg.det(AnchorAligner(256).align(mirrored)[:, :2]) > 0


@pytest.mark.parametrize("resolution", [256, 512])
def test_later_versions_crops_and_pictures_are_within_few_grey_levels(shared: Path, resolution: int) -> None:
    reference = later_reference(shared, resolution)
    image, affines = reference["image"], reference["affine"].astype(np.float64)
    paste_back = PasteBack(affines, (image.shape[1], image.shape[0]), crop_size(resolution))
    for number, frame in enumerate(reference["frames"].tolist()):
        picture = image.copy()
        paste_back.paste(picture, 255 - reference["crop"][number], frame)
        left, top, width, height = paste_back.rectangle(frame)
        difference = np.abs(picture.astype(int) - reference["restored_from_inverted_crop"][number])
        assert difference.max() <= 3
        assert difference[top : top + height, left : left + width].mean() <= 1
    for number, expected in enumerate(reference["face"]):
        face = crop_face(image, affines[int(reference["frames"][number])], resolution)
        # The original's bilinear warp truncates.
        assert np.abs(face.astype(int) - expected).mean() < 0.5


def test_a_large_face_is_cropped_at_its_size_and_not_enlarged() -> None:
    assert [crop_size(resolution) for resolution in (128, 256, 512)] == [(210, 280), (210, 280), (420, 560)]
    frame = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    fine = crop_face(frame, np.array([[1.0, 0, -100], [0, 1, -60]]), 512)
    enlarged = cv2.resize(crop_face(frame, np.array([[0.5, 0, -50], [0, 0.5, -30]]), 256), (512, 512))
    assert np.abs(np.diff(fine.astype(int), axis=1)).mean() > 1.4 * np.abs(np.diff(enlarged.astype(int), axis=1)).mean()


@pytest.mark.parametrize("resolution", [128, 256, 512])
def test_the_face_matrix_leads_where_the_crop_shows_it(resolution: int) -> None:
    """A bright spot of the frame lies in the crop at the place that the matrix says."""
    frame = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(frame, (210, 160), 6, (255, 255, 255), -1)
    affine = np.array([[0.9, 0.2, -100.0], [-0.2, 0.9, 80.0]])
    brightness = crop_face(frame, affine, resolution)[..., 0].astype(np.float64)
    weights = np.maximum(brightness - 170, 0)  # above the grey around the frame, and its ringing
    found = [(weights * axis).sum() / weights.sum() for axis in np.indices(weights.shape)[::-1]]
    expected = face_matrix(affine, resolution) @ (210, 160, 1)
    np.testing.assert_allclose(found, expected, atol=0.2)


def test_landmarks_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="68"):
        FaceAligner().align(np.zeros((106, 2)))
