"""What services answer over HTTP: faults that pass, faults that stay, and files whose size is bounded."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from filming.service import FilmError, FilmFault, ServiceAway

_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
_REFUSES_KEY = (401, 403)
_MOST_JSON_BYTES = 4_000_000
_SHOWN_CHARS = 300
_JOB = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._:-]{0,199}")


@asynccontextmanager
async def answered(client: httpx.AsyncClient, method: str, url: str, **sent: Any) -> AsyncIterator[httpx.Response]:
    """A successful answer, whose body isn't read yet. Raises ServiceAway and FilmError."""
    try:
        async with client.stream(method, url, **sent) as answer:
            await _require_success(answer)
            yield answer
    except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.DecodingError, httpx.InvalidURL) as error:
        message = f"The service's answer can't be used ({type(error).__name__}: {_shown(str(error))})."
        raise FilmError(FilmFault.FAILED, message) from None
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise ServiceAway(f"The service at {client.base_url} can't be reached ({reason}).") from None


async def asked(client: httpx.AsyncClient, method: str, url: str, **sent: Any) -> dict[str, Any]:
    """The object that a request is answered with."""
    async with answered(client, method, url, **sent) as answer:
        body = await _read(answer, _MOST_JSON_BYTES)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # the latter for brackets in brackets in brackets
        found = None
    if not isinstance(found, dict):
        raise FilmError(FilmFault.FAILED, f"The service answers {_shown(body)!r}, which is no JSON object.")
    return found


async def saved(client: httpx.AsyncClient, url: str, into: Path, most_bytes: int, **sent: Any) -> None:
    """Write the body of an answer to a file, as far as it is no larger than allowed."""
    async with answered(client, "GET", url, **sent) as answer:
        written = 0
        with into.open("wb") as file:
            async for data in answer.aiter_bytes():
                written += len(data)
                if written > most_bytes:
                    message = f"The video is larger than {most_bytes / 1e6:g} MB, the limit of film_limit_bytes."
                    raise FilmError(FilmFault.FAILED, message)
                await asyncio.to_thread(file.write, data)
    if not written:
        raise FilmError(FilmFault.FAILED, "The service's video is empty.")


def text_of(answer: dict[str, Any], name: str) -> str:
    """A text that an answer must have."""
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise FilmError(FilmFault.FAILED, f"The service's answer has no text {name!r}: {_shown(json.dumps(answer))!r}.")
    return value


def job_of(answer: dict[str, Any], name: str) -> str:
    """The id of a job; it becomes a part of addresses, and may hold nothing that means something there."""
    job = text_of(answer, name)
    if not _JOB.fullmatch(job):
        raise FilmError(FilmFault.FAILED, f"The service's job is named {job[:60]!r}, which can't be asked for.")
    return job


async def _require_success(answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    if status in _PASSING:
        raise ServiceAway(f"The service answers with status {status}.", _retry_after_s(answer))
    if status in _REFUSES_KEY:  # what it says may repeat a part of the key
        message = "The service refuses the server's key. Tell whoever runs the server."
        raise FilmError(FilmFault.REFUSED, message)
    if status == httpx.codes.NOT_FOUND:
        raise FilmError(FilmFault.LOST, "The service knows nothing of this (status 404): look at film_url.")
    said = _shown(await _read(answer, _MOST_JSON_BYTES))
    raise FilmError(FilmFault.REFUSED, f"The service refuses the order (status {status}): {said}")


async def _read(answer: httpx.Response, most: int) -> bytes:
    body = b""
    async for data in answer.aiter_bytes():
        body += data
        if len(body) > most:
            raise FilmError(FilmFault.FAILED, f"The service's answer has more than {most} bytes, which is no answer.")
    return body


def _shown(body: bytes | str) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    try:  # many servers wrap what they say
        error = json.loads(text)["error"]
        text = error if isinstance(error, str) else error["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return " ".join(str(text).split())[:_SHOWN_CHARS]


def _retry_after_s(answer: httpx.Response) -> float | None:
    try:
        return max(0.0, float(answer.headers["retry-after"]))
    except (KeyError, ValueError):  # it may be a date, too
        return None
