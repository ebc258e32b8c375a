"""Faces and landmarks in pictures; needs the fetched models, and people from the local test media."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from cv2.typing import MatLike

from latentsync.landmarks import LANDMARK_POINTS, FaceLandmarker, LandmarkModelError
from tests.support.checkout import ROOT

MODELS = ROOT / "checkpoints" / "face"


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    try:
        return FaceLandmarker(MODELS)
    except LandmarkModelError as error:
        pytest.skip(f"the face models are not fetched: {error}")


@pytest.fixture(scope="module", params=["idle_832x1248_25fps.mp4", "presenter_1080x1920_25fps.mp4"])
def frame(shared: Path, request: pytest.FixtureRequest) -> MatLike:
    read, picture = cv2.VideoCapture(str(shared / "media" / request.param)).read()
    assert read
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def test_the_68_are_the_points_of_the_reference(shared: Path) -> None:
    assert json.loads((shared / "fixtures" / "mediapipe_to_lm68.json").read_text()) == LANDMARK_POINTS.tolist()


def test_a_face_is_found_and_its_features_lie_where_they_belong(landmarker: FaceLandmarker, frame: MatLike) -> None:
    (face,) = landmarker.detect(frame)
    assert face.presence > 0.9
    assert face.mesh.shape == (468, 2)
    points = face.landmarks
    assert points.shape == (68, 2)
    right_eye, left_eye = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    nose, mouth, chin = points[30], points[48:68].mean(axis=0), points[8]
    assert right_eye[0] < nose[0] < left_eye[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1] < chin[1]


def test_landmarks_move_with_the_picture(landmarker: FaceLandmarker, frame: MatLike) -> None:
    (face,) = landmarker.detect(frame)
    height, width = frame.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 12, 0.9)
    (turned,) = landmarker.detect(cv2.warpAffine(frame, turn, (width, height)))
    expected = face.landmarks @ turn[:, :2].T + turn[:, 2]
    assert np.abs(turned.landmarks - expected).mean() < 0.015 * face.width


def test_every_face_is_found_the_widest_first(landmarker: FaceLandmarker, shared: Path) -> None:
    read, picture = cv2.VideoCapture(str(shared / "media" / "idle_832x1248_25fps.mp4")).read()
    assert read
    frame = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    smaller = cv2.resize(frame, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    both = np.zeros((frame.shape[0], frame.shape[1] + smaller.shape[1], 3), np.uint8)
    both[: smaller.shape[0], : smaller.shape[1]] = smaller
    both[:, smaller.shape[1] :] = frame
    first, second = landmarker.detect(both)
    assert second.width == pytest.approx(0.6 * first.width, rel=0.08)
    assert second.mesh.mean(axis=0)[0] < first.mesh.mean(axis=0)[0]


def test_a_picture_without_a_face_has_none(landmarker: FaceLandmarker) -> None:
    assert landmarker.detect(np.full((480, 640, 3), 128, np.uint8)) == []


def test_missing_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(LandmarkModelError, match=r"face_landmark\.tflite"):
        FaceLandmarker(tmp_path)
