"""What a prepared avatar was made from, as one hash: when it is the same, so is the result."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from latentsync.checkpoint import Checkpoint

# Raised by whoever changes decoding, alignment, the mask or the condition's layout.
_PREPARATION = 1
_BLOCK_BYTES = 1 << 20


def preparation_sha256(video: Path, checkpoint: Checkpoint, max_height: int | None, loop: str | None) -> str:
    """SHA-256 in hex over the video, the VAE that encodes it, and the settings of the preparation."""
    settings = [_PREPARATION, checkpoint.resolution, dict(checkpoint.vae), max_height, loop]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in (video, *sorted(checkpoint.directory.glob("vae.*"))):
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
