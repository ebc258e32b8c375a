"""What a prepared avatar was made from, as one hash: when it is the same, so is the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from latentsync.checkpoint import Checkpoint

# Increment it with every change of decoding, alignment, the mask, the condition's layout, or what is measured.
_PREPARATION = 3
_BLOCK_BYTES = 1 << 20


def preparation_sha256(videos: Sequence[Path], checkpoint: Checkpoint, options: Sequence[object]) -> str:
    """SHA-256 in hex over the videos, the VAE that encodes them, and the settings of the preparation (as JSON)."""
    settings = [_PREPARATION, checkpoint.name, checkpoint.resolution, dict(checkpoint.vae), list(options)]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in (*videos, *sorted(checkpoint.directory.glob("vae.*"))):
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
