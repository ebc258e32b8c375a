"""Which of Triton's errors are temporary, and the back-off between retries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tritonclient.utils import InferenceServerException

from inference.errors import InferenceError, InferenceFailed, TritonUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class RetryPolicy:
    """How many attempts a request gets, with a delay between them that doubles up to `max_delay_s`."""

    attempts: int = 8
    first_delay_s: float = 0.1
    max_delay_s: float = 2.0

    def delay_s(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt`, counted from 0."""
        return float(min(self.first_delay_s * 2**attempt, self.max_delay_s))


def is_unavailable(error: InferenceServerException) -> bool:
    """True where Triton is unreachable, starting, stopping, overloaded, or reloading a model whose process died."""
    status, message = error.status() or "", error.message() or ""
    return (
        status == "StatusCode.UNAVAILABLE"
        or (status == "StatusCode.NOT_FOUND" and "no available versions" in message)
        or is_dead_process(error)
    )


def is_dead_process(error: InferenceServerException) -> bool:
    """True where the process of the model is dead; Triton still reports the model as ready."""
    message = error.message() or ""
    return "Stub process" in message and "is not healthy" in message


def is_lost_region(error: InferenceServerException) -> bool:
    """True where Triton does not know a shared memory region, for example after its restart."""
    return "Unable to find" in (error.message() or "") and "shared memory region" in (error.message() or "")


def typed(error: InferenceServerException, what: str) -> InferenceError:
    """Triton's error as one of this package's types; `what` names the request."""
    message = error.message() or "no reason given"
    if is_unavailable(error):
        return TritonUnavailable(
            f"{what}: Triton accepts no requests now ({message}). Check that tritonserver runs.", what
        )
    if error.status() == "StatusCode.DEADLINE_EXCEEDED":
        return InferenceFailed(f"{what}: Triton did not answer in time. Raise the time limit or lower the load.", what)
    return InferenceFailed(f"{what}: {message}", what)


async def send(request: Callable[[], Awaitable[T]], what: str, policy: RetryPolicy, sleep: Sleep = asyncio.sleep) -> T:
    """Await `request()`, with retries by `policy` while Triton is unavailable or has lost a region.

    Raises `TritonUnavailable` or `InferenceFailed` with Triton's reason.
    """
    for attempt in range(policy.attempts):
        try:
            return await request()
        except InferenceServerException as error:
            temporary = is_unavailable(error) or is_lost_region(error)
            if not temporary or attempt + 1 == policy.attempts:
                raise typed(error, what) from error
            logger.info("%s: attempt %d failed (%s), retrying", what, attempt + 1, error.message())
        await sleep(policy.delay_s(attempt))
    raise ValueError(f"attempts must be at least 1, got {policy.attempts}")
