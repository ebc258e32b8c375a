"""How large the starter's networks and faces are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.train_vae import CONFIG
from training.write_checkpoint import UNET


@dataclass(frozen=True)
class Sizes:
    """Side of the faces in pixels (a multiple of 32), channels of the VAE, and of the UNet's three levels."""

    resolution: int
    vae_width: int
    unet_widths: tuple[int, int, int]

    def __post_init__(self) -> None:
        # The UNet halves the latents twice, and a latent is eight pixels wide.
        if self.resolution <= 0 or self.resolution % 32:
            raise ValueError(f"resolution must be a positive multiple of 32, not {self.resolution}")

    @property
    def vae(self) -> dict[str, Any]:
        """diffusers' settings of the VAE: the demo's number of blocks, at this width."""
        widths = {name: [self.vae_width] * len(CONFIG[name]) for name in CONFIG if name.endswith("channels")}
        return CONFIG | widths

    @property
    def unet(self) -> dict[str, Any]:
        """Settings of the UNet: the demo's, at these widths."""
        return UNET | {"block_out_channels": list(self.unet_widths)}


SIZES = {
    "starter": Sizes(160, 48, (64, 128, 192)),
    "large": Sizes(192, 64, (96, 160, 224)),
    "tiny": Sizes(64, 16, (16, 16, 32)),
}
"""`starter` is meant to be committed; `large` shows what size alone would give; `tiny` is for tests."""
