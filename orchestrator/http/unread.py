"""The rest of a request that was refused before it had arrived."""

from __future__ import annotations

import anyio
from starlette.requests import ClientDisconnect, Request

from conversation.synthesis.synthesiser import SynthesisError
from orchestrator.http.errors import ApiError, refusal_of
from speech.audio.errors import AudioError

_LONGEST_S = 3.0


async def read_rest(request: Request, max_bytes: int) -> bool:
    """Discard the rest, at most `max_bytes` and for three seconds; True when the request was read to its end.

    A connection that is closed with unread bytes is reset, and many clients then never see the answer.
    """
    if "expect" in request.headers:
        return False  # a client that asks first sends nothing after a refusal
    size = 0
    with anyio.move_on_after(_LONGEST_S):
        try:
            async for data in request.stream():
                size += len(data)
                if size > max_bytes:
                    return False
            return True
        except ClientDisconnect:
            return True
        except RuntimeError:
            return True  # Starlette raises it for a body that was read before
    return False


async def refused(
    request: Request, error: ApiError | AudioError | SynthesisError | OSError, max_bytes: int
) -> ApiError:
    """What a request is refused with, once its rest was discarded; the connection closes where there was too much."""
    refusal = refusal_of(error)
    refusal.closes = not await read_rest(request, max_bytes)
    return refusal
