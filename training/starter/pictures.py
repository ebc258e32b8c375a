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
from training.starter.growing import Growing
from training.train_vae import lip_weight, pixels

_LONGEST_SIDE = 1800
_SHARE_BLANKED = 0.12
_PARTS_OF_PHOTOS = 4096
_FURTHEST = 3.0


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
    """Pictures of a folder, RGB, the longest side at most 1800 pixels; none without a folder."""
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
        parts: int = _PARTS_OF_PHOTOS,
    ) -> None:
        """`photos` are a third of a batch if there are any; `parts` are cut out once, for a step doesn't wait."""
        side = faces.shape[1]
        self._faces = Growing(torch.from_numpy(faces).to(device))
        self._rng = np.random.default_rng(seed)
        self._batch, self._crop, self._device = batch, min(crop, side), device
        usable = [photo for photo in photos if min(photo.shape[:2]) >= self._crop]
        cut = [self._part_of(usable[int(self._rng.integers(len(usable)))]) for _ in range(parts if usable else 0)]
        self._parts = torch.from_numpy(np.stack(cut)).to(device) if cut else None
        self._mask = torch.from_numpy(face_mask(side)).to(device)
        self._region = 1 + 2 * lip_weight(side).to(device)

    def add(self, faces: NDArray[np.uint8]) -> None:
        """More faces uint8 [n, R, R, 3], as they are rendered."""
        self._faces.append(torch.from_numpy(faces).to(self._device))

    def __len__(self) -> int:
        return len(self._faces.rows)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """(pixels [B, 3, c, c] in [-1, 1], weight [B, 1, c, c])."""
        of_photos = self._batch // 3 if self._parts is not None else 0
        faces, weight = self._drawn_faces(self._batch - of_photos)
        if self._parts is None:
            return faces, weight
        photos = self._recoloured(self._mirrored(self._drawn(self._parts, of_photos)))
        # What isn't a face may have any colours: red, green and blue in another order, for half of them.
        order = self._rng.permutation(3).tolist()
        photos[: of_photos // 2] = photos[: of_photos // 2, order]
        return torch.cat([faces, photos]), torch.cat([weight, torch.ones_like(photos[:, :1])])

    def _drawn_faces(self, count: int) -> tuple[Tensor, Tensor]:
        faces = self._recoloured(self._mirrored(self._drawn(self._faces.rows, count)))
        faces[: round(_SHARE_BLANKED * count)] *= self._mask
        last = faces.shape[-1] - self._crop
        # The lower half of a face is what is repainted.
        top, left = int(self._rng.integers(last // 2, last + 1)), int(self._rng.integers(0, last + 1))
        at = (..., slice(top, top + self._crop), slice(left, left + self._crop))
        return faces[at], self._region[at].expand(count, 1, -1, -1)

    def _drawn(self, pictures: Tensor, count: int) -> Tensor:
        rows = torch.from_numpy(self._rng.integers(0, len(pictures), count)).to(self._device)
        return pixels(pictures[rows], self._device)

    def _part_of(self, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A part of a photograph, from near or from further away."""
        nearest = min(photo.shape[:2]) / self._crop
        side = round(self._crop * float(np.exp(self._rng.uniform(0, np.log(min(nearest, _FURTHEST))))))
        top, left = (int(self._rng.integers(0, n - side + 1)) for n in photo.shape[:2])
        part = np.ascontiguousarray(photo[top : top + side, left : left + side])
        return np.asarray(cv2.resize(part, (self._crop, self._crop), interpolation=cv2.INTER_AREA), np.uint8)

    def _mirrored(self, images: Tensor) -> Tensor:
        """Every second one, left and right exchanged; the repainted region is symmetrical."""
        return torch.cat([images[::2], images[1::2].flip(-1)])

    def _recoloured(self, images: Tensor) -> Tensor:
        """Half of them with another brightness and white, so that colours are learned apart from faces."""
        factors = np.exp(self._rng.normal(0, 0.12, (len(images), 3)) + self._rng.normal(0, 0.15, (len(images), 1)))
        factors[self._rng.random(len(images)) < 0.5] = 1
        scale = torch.from_numpy(factors.astype(np.float32)).to(self._device)[:, :, None, None]
        return ((images + 1) * scale - 1).clamp(-1, 1)
