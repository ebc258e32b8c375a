"""The silence that synthesisers put around a sentence is left out: it would only be waited for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np
from numpy.typing import NDArray

_QUIET = 66  # of 32768: -54 dBFS, below the beginning of an f or an h
_KEPT_S = 0.04


async def without_quiet_ends(
    blocks: AsyncIterator[NDArray[np.int16]], rate_hz: int
) -> AsyncGenerator[NDArray[np.int16], None]:
    """Blocks of a sentence from 40 ms before its first sound to 40 ms behind its last one; none where it has none.

    What is quiet within it is handed on once a sound follows.
    """
    kept = round(_KEPT_S * rate_hz)
    begun = False
    held: NDArray[np.int16] = np.zeros(0, np.int16)
    async for block in blocks:
        joined = np.concatenate([held, block])
        loud = np.flatnonzero(np.abs(joined.astype(np.int32)) > _QUIET)
        if not len(loud):
            held = joined if begun else joined[-kept:]
            continue
        first = 0 if begun else max(0, int(loud[0]) - kept)
        end = int(loud[-1]) + 1
        begun, held = True, joined[end:]
        yield joined[first:end]
    if begun and len(held):
        yield held[:kept]
