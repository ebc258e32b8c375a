"""How well a checkpoint's VAE draws an avatar's own mouth, measured while the avatar is prepared.

A UNet only chooses latents, so no speech looks better than this. It isn't the reverse: a mouth that the VAE draws well
can still move badly, which `made_for` of the checkpoint says where it is known.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latentsync.avatar_files import AvatarSettings
from latentsync.contract import CONTRACT
from latentsync.mask import face_mask

# Between what was seen to be drawn well (the demo's presenter: 40 dB, 33 dB as a small or badly compressed video) and
# what was seen to be spoiled (two real people 18 dB, the presenter in strange colours 18 dB): docs/avatars.md.
LEAST_FIT_DB = 26.0
# The decoder is served for whole chunks; the shortest one is enough, for the fit hardly varies within a clip.
_FRAMES = min(CONTRACT.chunk_lengths)
# The mean square of rounding to whole grey levels: equal pictures are no better than this, and not infinitely good.
_ROUNDING = 1 / 12


class FaceDecoder(Protocol):
    """The served VAE decoder; `TritonClient` is one."""

    async def decode(self, latents: NDArray[np.float16]) -> NDArray[np.uint8]:
        """Faces RGB [k, R, R, 3] of scaled latents [k, 4, R/8, R/8]; k is one of the contract's chunk lengths."""
        ...


def sampled_rows(speakable: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frames on which the fit is measured, spread over those that can speak; one comes twice where there are few."""
    rows: NDArray[np.int64] = speakable[np.linspace(0, len(speakable) - 1, _FRAMES).astype(int)]
    return rows


async def measured_fit_db(decoder: FaceDecoder, faces: NDArray[np.uint8], reference: NDArray[np.float16]) -> float:
    """PSNR in dB of face crops RGB [k, R, R, 3] against what the decoder makes of their latents [k, 4, R/8, R/8].

    Counted where a speech repaints (`latentsync.mask`), over all frames together. Raises InferenceError.
    """
    decoded = await decoder.decode(reference)
    repainted = face_mask(faces.shape[1]) < 0.5
    difference = faces[:, repainted].astype(np.float32) - decoded[:, repainted]
    return round(float(10 * np.log10(255**2 / max(np.square(difference).mean(), _ROUNDING))), 1)


def fit_warning(avatar: AvatarSettings) -> str | None:
    """A sentence, with the figure, for an avatar whose mouth the checkpoint can't draw; None for others.

    None too for an avatar that was prepared before this was measured.
    """
    if avatar.fit_db is None or avatar.fit_db >= LEAST_FIT_DB:
        return None
    return (
        f"the checkpoint {avatar.checkpoint!r} can't draw this face: through its VAE the mouth comes back at "
        f"{avatar.fit_db:g} dB, and below {LEAST_FIT_DB:g} dB it looks spoiled while it speaks. Use a checkpoint for "
        "other people (docs/checkpoints.md), then add the avatar again"
    )


def as_sentence(warning: str | None) -> str | None:
    """A warning as the API says it, with a capital and a full stop."""
    return warning and f"{warning[:1].upper()}{warning[1:]}."
