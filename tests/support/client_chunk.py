"""One chunk as `TritonClient` takes it, drawn from a seed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.tiny_checkpoint import LATENT_SIZE


def chunk(seed: int, frames: int = 16) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    random = np.random.default_rng(seed)
    return (
        random.standard_normal((4, LATENT_SIZE, LATENT_SIZE), np.float32),
        random.standard_normal((frames, 9, LATENT_SIZE, LATENT_SIZE), np.float32).astype(np.float16),
        random.standard_normal((frames, 50, 384), np.float32).astype(np.float16),
    )
