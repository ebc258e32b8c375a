"""The faces that the evaluation generates with a checkpoint."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.tiny_checkpoint import RESOLUTION, write_tiny_checkpoint
from training.generate import CheckpointGenerator


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def idle() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (4, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)


def test_every_frame_of_the_audio_gets_a_face_and_the_same_one_again(checkpoint: Path, idle: NDArray[np.uint8]) -> None:
    generator = CheckpointGenerator(checkpoint, idle, "cpu", steps=1)
    pcm = np.random.default_rng(1).normal(0, 0.1, 21 * 640).astype(np.float32)
    indices = np.arange(21) % len(idle)
    faces = generator(pcm, indices)
    assert faces.shape == (21, RESOLUTION, RESOLUTION, 3) and faces.dtype == np.uint8
    assert np.array_equal(faces, generator(pcm, indices))


def test_the_audio_and_the_idle_frame_both_matter(checkpoint: Path, idle: NDArray[np.uint8]) -> None:
    generator = CheckpointGenerator(checkpoint, idle, "cpu", steps=1)
    noise = np.random.default_rng(1).normal(0, 0.1, 16 * 640).astype(np.float32)
    first, last = np.zeros(16, np.int64), np.full(16, 3)
    spoken = generator(noise, first)
    assert not np.array_equal(spoken, generator(np.zeros_like(noise), first))
    assert not np.array_equal(spoken, generator(noise, last))


def test_faces_of_another_resolution_are_refused(checkpoint: Path, idle: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="32 px"):
        CheckpointGenerator(checkpoint, idle[:, ::2, ::2], "cpu")
