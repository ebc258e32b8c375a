"""What servers with OpenAI's interfaces have in common: their key, what passes by itself, and what they refuse with."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import httpx

PASSING = (408, 409, 425, 500, 502, 503, 504)
"""Statuses of what may be gone at the next attempt; 429 is one where no quota is meant."""
_REFUSES_KEY = (401, 403)
_READ_OF_REFUSAL_BYTES, _READ_OF_REFUSAL_S = 4000, 2.0
_SHOWN_CHARS = 200

logger = logging.getLogger(__name__)


def key_header(key: str | None) -> dict[str, str]:
    """The headers that send a key, where there is one."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def refuses_key(what: str, url: str, status: int) -> str | None:
    """The message for whoever asked, where a server refuses the key; its own may repeat a part of it."""
    if status not in _REFUSES_KEY:
        return None
    logger.error("the %s at %s refuses the key (%d)", what, url, status)
    return f"The {what} refuses the server's key. Tell whoever runs the server."


def retry_after_s(answer: httpx.Response) -> float | None:
    """The time after which the server wants to be asked again; None where it names none."""
    try:
        return max(0.0, float(answer.headers["retry-after"]))
    except (KeyError, ValueError):  # it may be a date, too
        return None


async def refusal(answer: httpx.Response) -> str:
    """The beginning of what a refusal says, as far as it comes soon."""
    read = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(_READ_OF_REFUSAL_S):
            async for data in answer.aiter_bytes():
                read += data
                if len(read) > _READ_OF_REFUSAL_BYTES:
                    break
    return shown(read.decode(errors="replace"))


def shown(value: object) -> str:
    """The beginning of a text in one line."""
    return " ".join(str(value).split())[:_SHOWN_CHARS]
