"""The silence that synthesisers put around a sentence is left out: it would only be waited for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np
from numpy.typing import NDArray

from conversation.synthesis.synthesiser import FAILED, SynthesisError

_QUIET = 66  # of 32768: -54 dBFS, below the beginning of an f or an h
_KEPT_S = 0.04
_ENDLESS_S = 20.0  # longer than any pause within a sentence: an answer that doesn't end


async def without_quiet_ends(
    blocks: AsyncIterator[NDArray[np.int16]], rate_hz: int
) -> AsyncGenerator[NDArray[np.int16], None]:
    """Blocks of a sentence from 40 ms before its first sound to 40 ms behind its last one; none where it has none.

    What is quiet within it is handed on once a sound follows. Raises SynthesisError for silence that doesn't end.
    """
    kept = round(_KEPT_S * rate_hz)
    begun = False
    held: list[NDArray[np.int16]] = []
    quiet = 0  # samples of them
    async for block in blocks:
        loud = np.flatnonzero(np.abs(block.astype(np.int32)) > _QUIET)
        if not len(loud):
            held.append(block)
            quiet += len(block)
            if quiet > _ENDLESS_S * rate_hz:
                raise SynthesisError(FAILED, f"The synthesiser doesn't end: {_ENDLESS_S:g} s of silence in a sentence.")
            continue
        joined = np.concatenate([*held, block])
        first = 0 if begun else max(0, quiet + int(loud[0]) - kept)
        end = quiet + int(loud[-1]) + 1
        begun, held, quiet = True, [joined[end:]], len(joined) - end
        yield joined[first:end]
    if begun and quiet:
        yield np.concatenate(held)[:kept]
