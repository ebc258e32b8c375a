"""Pictures to look at during a training: what was, and what the networks make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from latentsync.vae import Vae, pixels_to_uint8
from training.starter.takes import Speech, Takes, draw_batch
from training.train_vae import pixels
from training.write_checkpoint import SCHEDULER

_COLUMNS = 10


def write(path: Path, rows: list[NDArray[np.uint8]]) -> None:
    """Rows of faces uint8 [n, R, R, 3], one below the other, as a JPEG."""
    picture = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])


@torch.inference_mode()
def vae_sheet(path: Path, vae: Any, faces: NDArray[np.uint8], device: str) -> None:
    """Faces, spread over those given, and below them what the VAE makes of them."""
    some = faces[np.linspace(0, len(faces) - 1, min(_COLUMNS, len(faces))).astype(int)]
    decoded = vae.decoder(vae.encoder(pixels(some, device))).float().clamp(-1, 1)
    write(path, [some, _array(pixels_to_uint8(decoded))])


@torch.inference_mode()
def unet_sheet(path: Path, unet: nn.Module, vae: Vae, takes: Takes, speech: Speech) -> None:
    """Of each take the frame that speaks the most: its truth, its reference, and what one step makes of it."""
    device = takes.faces.device
    generator = torch.Generator(device).manual_seed(7)
    batch = draw_batch(takes, speech, _COLUMNS, generator)
    noise = torch.randn(_COLUMNS, 4, 1, *batch.target.shape[-2:], generator=generator, device=device)
    timestep = torch.full((_COLUMNS,), int(SCHEDULER["num_train_timesteps"]) - 1, device=device)
    made = unet(torch.cat([noise.expand_as(batch.target), batch.condition], 1), timestep, batch.audio)
    moved = (batch.target - batch.condition[:, 5:]).square().mean((1, 3, 4)).argmax(1)
    chunk = torch.arange(_COLUMNS, device=device)
    rows = [takes.faces[batch.row[chunk, moved]]]
    rows += [pixels_to_uint8(vae.decode(one[chunk, :, moved])) for one in (batch.condition[:, 5:], made.float())]
    write(path, [_array(row) for row in rows])


def _array(pictures: Tensor) -> NDArray[np.uint8]:
    return np.asarray(pictures.cpu().numpy(), np.uint8)
