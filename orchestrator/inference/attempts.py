"""Whole requests tried again after an error of their own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from orchestrator.inference.errors import InferenceFailed

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def attempt(request: Callable[[], Awaitable[T]], what: str, attempts: int) -> T:
    """Await `request()`, up to `attempts` times; raises the last `InferenceFailed`, with `what` in its message.

    `TritonUnavailable` passes through: the client has waited for Triton already.
    """
    for number in range(1, attempts + 1):
        try:
            return await request()
        except InferenceFailed as error:
            if number == attempts:
                raise InferenceFailed(f"{what} failed {attempts} times: {error.message}") from error
            logger.warning("%s failed (%s), attempt %d of %d", what, error.message, number, attempts)
    raise ValueError(f"attempts must be at least 1, got {attempts}")
