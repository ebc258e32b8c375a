"""Retries of whole requests, the last one after the model was reloaded."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from inference import span
from inference.errors import InferenceError, InferenceFailed, TritonUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")
Recover = Callable[[InferenceError], Awaitable[bool]]
"""Repairs the cause of an error where possible; returns whether another attempt makes sense."""


async def no_recovery(error: InferenceError) -> bool:
    """Repairs nothing."""
    return False


async def attempt(request: Callable[[], Awaitable[T]], what: str, attempts: int, recover: Recover = no_recovery) -> T:
    """Await `request()`, up to `attempts` times, and once more when `recover` has repaired the cause.

    A retry may reach another instance of the model. `TritonUnavailable` is not retried without a repair: the client
    has already waited for Triton. Raises the last error, with `what` in its message.
    """
    if attempts < 1:
        raise ValueError(f"attempts must be at least 1, got {attempts}")
    tries = 0
    recovered = False
    while True:
        tries += 1
        span.note(attempt=tries)
        try:
            return await request()
        except InferenceError as error:
            again = isinstance(error, InferenceFailed) and tries < attempts
            if not again and not recovered:
                recovered = again = await recover(error)
            if not again:
                if isinstance(error, TritonUnavailable):
                    raise
                raise InferenceFailed(f"{what} failed {tries} times: {error.message}", error.model) from error
            logger.warning("%s failed (%s), attempt %d", what, error.message, tries)
