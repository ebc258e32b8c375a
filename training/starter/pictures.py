"""Pictures from which the VAE learns: rendered faces, and parts of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentsync.mask import face_mask
from training.train_vae import lip_weight, pixels

_LONGEST_SIDE = 1400
_SHARE_BLANKED = 0.12


def take_paths(people: Path, held_out: bool = False, every: int = 20) -> list[Path]:
    """Takes of a folder of rendered people; every 20th person is held out."""
    paths = sorted(people.glob("*.npz"))
    chosen = [path for path in paths if (int(path.name.split("-")[0]) % every == 0) is held_out]
    if not chosen:
        raise FileNotFoundError(f"{people} has no {'held-out ' * held_out}takes: run training.people.render first")
    return chosen


def faces_of(paths: Sequence[Path], stride: int) -> NDArray[np.uint8]:
    """Every `stride`-th speaking and resting face of these takes, uint8 [n, R, R, 3]."""
    parts = []
    for path in paths:
        with np.load(path) as take:
            parts += [take["talking"][::stride], take["idle"][:: 4 * stride]]
    return np.concatenate(parts)


def photographs(folder: Path | None) -> list[NDArray[np.uint8]]:
    """Pictures of a folder, RGB, the longest side at most 1400 pixels; none without a folder."""
    pictures = []
    for path in sorted(folder.rglob("*")) if folder is not None else []:
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            continue
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            continue  # not every file with such a name is a picture
        scale = min(1.0, _LONGEST_SIDE / max(picture.shape[:2]))
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        pictures.append(np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[..., ::-1]))
    return pictures


class PictureSampler:
    """Batches of crops: faces with other colours, some with the repainted region blank, and parts of photographs."""

    def __init__(
        self,
        faces: NDArray[np.uint8],
        photos: Sequence[NDArray[np.uint8]],
        batch: int,
        crop: int,
        device: str,
        seed: int,
    ) -> None:
        """`photos` are a third of a batch where there are any."""
        side = faces.shape[1]
        self._faces = torch.from_numpy(faces).to(device)
        self._photos = [photo for photo in photos if min(photo.shape[:2]) >= crop]
        self._rng = np.random.default_rng(seed)
        self._batch, self._crop, self._device = batch, min(crop, side), device
        self._mask = torch.from_numpy(face_mask(side)).to(device)
        self._region = 1 + 2 * lip_weight(side).to(device)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """(pixels [B, 3, c, c] in [-1, 1], weight [B, 1, c, c])."""
        of_photos = self._batch // 3 if self._photos else 0
        faces, weight = self._drawn_faces(self._batch - of_photos)
        if not of_photos:
            return faces, weight
        photos = pixels(np.stack([self._part_of_photo() for _ in range(of_photos)]), self._device)
        return torch.cat([faces, self._recoloured(photos)]), torch.cat([weight, torch.ones_like(photos[:, :1])])

    def _drawn_faces(self, count: int) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(self._rng.integers(0, len(self._faces), count)).to(self._device)
        faces = self._recoloured(pixels(self._faces[rows], self._device))
        faces[: round(_SHARE_BLANKED * count)] *= self._mask
        last = faces.shape[-1] - self._crop
        # The lower half of a face is what is repainted.
        top, left = int(self._rng.integers(last // 2, last + 1)), int(self._rng.integers(0, last + 1))
        at = (..., slice(top, top + self._crop), slice(left, left + self._crop))
        return faces[at], self._region[at].expand(count, 1, -1, -1)

    def _part_of_photo(self) -> NDArray[np.uint8]:
        photo = self._photos[int(self._rng.integers(len(self._photos)))]
        top, left = (int(self._rng.integers(0, n - self._crop + 1)) for n in photo.shape[:2])
        part = photo[top : top + self._crop, left : left + self._crop]
        return part[:, ::-1] if self._rng.random() < 0.5 else part

    def _recoloured(self, images: Tensor) -> Tensor:
        """Half of them with another brightness and white, so that colours are learned apart from faces."""
        factors = np.exp(self._rng.normal(0, 0.12, (len(images), 3)) + self._rng.normal(0, 0.15, (len(images), 1)))
        factors[self._rng.random(len(images)) < 0.5] = 1
        scale = torch.from_numpy(factors.astype(np.float32)).to(self._device)[:, :, None, None]
        return ((images + 1) * scale - 1).clamp(-1, 1)
