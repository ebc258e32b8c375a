"""The committed demo checkpoint is whole, and its lips answer to sound."""

from pathlib import Path

import cv2
import pytest
import torch

from latentsync.checkpoint import Checkpoint
from latentsync.condition import face_condition
from latentsync.denoising import denoise, task_noise
from latentsync.mask import face_mask

CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoints" / "demo"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint.open(CHECKPOINT)


def test_it_is_small_enough_to_be_committed() -> None:
    total = sum(path.stat().st_size for path in CHECKPOINT.rglob("*") if path.is_file())
    assert total < 40_000_000


@torch.inference_mode()
def test_sound_moves_the_repainted_region(checkpoint: Checkpoint) -> None:
    unet, vae = checkpoint.load_unet(), checkpoint.load_vae()
    _, frame = cv2.VideoCapture(str(CHECKPOINT / "avatar" / "idle.mp4")).read()
    # The presenter's face, roughly aligned.
    face = cv2.resize(frame[150:430, 210:430, ::-1], (checkpoint.resolution, checkpoint.resolution))
    condition = torch.from_numpy(face_condition(vae, face[None])).float().expand(16, -1, -1, -1)[None]
    noise = torch.from_numpy(task_noise(0, checkpoint.latent_size))[None]

    def made(audio: torch.Tensor) -> torch.Tensor:
        latents = denoise(unet, noise, condition, audio, 1, 1.0, checkpoint.scheduler)
        return vae.decode(latents[0])

    sound = torch.randn(1, 16, 50, 384, generator=torch.Generator().manual_seed(0))
    silent, spoken = made(torch.zeros_like(sound)), made(3 * sound)
    assert silent.shape == (16, 3, checkpoint.resolution, checkpoint.resolution)
    assert torch.isfinite(silent).all()
    inside = torch.from_numpy(1 - face_mask(checkpoint.resolution)) > 0
    assert (silent - spoken)[..., inside].abs().mean() > 0.005
