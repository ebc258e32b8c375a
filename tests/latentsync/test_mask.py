"""The mask that LatentSync paints within, drawn anew at any size."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.mask import face_mask, latent_mask, paste_mask


@pytest.mark.parametrize("value", [0, 1])
def test_it_overlaps_the_original(shared: Path, value: int) -> None:
    original = (cv2.imread(str(shared / "fixtures" / "mask_256.png"), cv2.IMREAD_GRAYSCALE) > 127) == value
    drawn = face_mask(256) == value
    assert (original & drawn).sum() / (original | drawn).sum() >= 0.995


def test_the_large_one_has_the_originals_soft_edges(shared: Path) -> None:
    path = shared / "fixtures" / "v1_5" / "mask_512.png"
    original = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) / np.float32(255)
    drawn = face_mask(512)
    assert ((original > 0.5) & (drawn > 0.5)).sum() / ((original > 0.5) | (drawn > 0.5)).sum() >= 0.995
    soft = [int(((mask > 0) & (mask < 1)).sum()) for mask in (original, drawn)]
    assert soft[0] == 9186 and abs(soft[1] - soft[0]) < 100
    latents = [
        np.load(path.with_name("masks.npz"))["latent_512"],
        latent_mask(512, 64),
    ]
    fractional = [int(((mask > 0) & (mask < 1)).sum()) for mask in latents]
    assert fractional[0] == 133 and abs(fractional[1] - fractional[0]) < 10
    assert np.abs(latents[0] - latents[1]).mean() < 0.005


@pytest.mark.parametrize("size", [128, 256])
def test_it_keeps_eyes_and_nose_and_repaints_the_mouth(size: int) -> None:
    mask = face_mask(size)
    assert mask.shape == (size, size)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {0, 1}
    assert mask[: size // 3].all()
    assert mask[int(size * 0.45), size // 2] == 1
    assert mask[int(size * 0.75), size // 2] == 0
    assert not mask[int(size * 0.45), size // 8]


def test_the_latents_mask_is_the_nearest_pixel() -> None:
    assert np.array_equal(latent_mask(256, 32), face_mask(256)[::8, ::8])
    assert (latent_mask(256, 16) != latent_mask(128, 16)).mean() < 0.02


@pytest.mark.parametrize("size", [128, 160, 256, 512])
def test_pasting_covers_the_mouth_fades_out_and_leaves_the_crops_border(size: int) -> None:
    weight = paste_mask(size)
    assert weight.dtype == np.float32
    assert weight[int(size * 0.75), size // 2] == pytest.approx(1)
    assert weight[int(size * 0.2), size // 2] == 0
    border = np.concatenate([weight[0], weight[-1], weight[:, 0], weight[:, -1]])
    assert not border.any()
    steps = max(np.abs(np.diff(weight, axis=0)).max(), np.abs(np.diff(weight, axis=1)).max())
    assert steps < 0.35


def test_a_wide_feather_does_not_reach_the_border() -> None:
    weight = paste_mask(128, feather=0.2)
    assert not np.concatenate([weight[0], weight[-1], weight[:, 0], weight[:, -1]]).any()
