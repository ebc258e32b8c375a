"""What the UNet is told about a face."""

import numpy as np
import torch

from latentsync.condition import face_condition
from latentsync.mask import face_mask, latent_mask
from latentsync.vae import Vae, VaeType, pixels_to_uint8, uint8_to_pixels
from tests.support.reference import TINY_VAE


def test_channels_are_mask_masked_latents_and_reference_latents_in_any_batch() -> None:
    torch.manual_seed(0)
    vae = Vae(VaeType.TINY, 50.0, TINY_VAE).eval()
    faces = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    condition = face_condition(vae, faces, batch=2)
    assert condition.shape == (3, 9, 8, 8)
    assert condition.dtype == np.float16
    pixels = uint8_to_pixels(torch.from_numpy(faces))
    with torch.inference_mode():
        masked, reference = vae.encode(pixels * torch.from_numpy(face_mask(64))), vae.encode(pixels)
    np.testing.assert_array_equal(condition[:, 0], np.broadcast_to(latent_mask(64, 8), (3, 8, 8)))
    np.testing.assert_allclose(condition[:, 1:5], masked.numpy(), atol=5e-3)
    np.testing.assert_allclose(condition[:, 5:], reference.numpy(), atol=5e-3)
    assert np.abs(condition[:, 1:5] - condition[:, 5:]).max() > 0.1


def test_pictures_survive_the_way_to_pixels_and_back() -> None:
    pictures = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3).contiguous()
    pixels = uint8_to_pixels(pictures)
    assert (float(pixels.min()), float(pixels.max())) == (-1, 1)
    assert torch.equal(pixels_to_uint8(pixels), pictures)
