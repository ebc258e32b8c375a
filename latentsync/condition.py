"""The UNet's condition of each frame: mask, masked-image latents and reference latents."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.mask import face_mask, latent_mask
from latentsync.vae import Vae, uint8_to_pixels


@torch.inference_mode()
def face_condition(vae: Vae, faces: NDArray[np.uint8], batch: int = 8) -> NDArray[np.float16]:
    """Encodes face crops [N, R, R, 3] RGB uint8 to the UNet's condition [N, 9, R/8, R/8] float16.

    Channels: mask (1 = keep) 1; latents of the crop with the U made mid-grey (zero in [-1, 1]) 4; latents of the crop
    itself, which serves as its own reference, 4.
    """
    device = next(vae.parameters()).device
    size = faces.shape[1]
    keep = torch.from_numpy(face_mask(size)).to(device)
    parts = []
    for start in range(0, len(faces), batch):
        pixels = uint8_to_pixels(torch.from_numpy(np.ascontiguousarray(faces[start : start + batch])).to(device))
        masked, reference = vae.encode(pixels * keep), vae.encode(pixels)
        mask = torch.from_numpy(latent_mask(size, reference.shape[-1])).to(device).expand(len(pixels), 1, -1, -1)
        parts.append(torch.cat([mask, masked, reference], dim=1).cpu().numpy().astype(np.float16))
    return np.concatenate(parts)
