"""A client of the measured server: uploads speech, asks for states, and comes again where it is refused."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

_TIMEOUT_S = 30.0
_PATIENCE_S = 60.0
_AGAIN_S = 0.5
_REFUSED = (429, 503, 507)
"""Answers that promise nothing: a client comes again."""


class StreamClient:
    """Requests to one server; `refusals` are those that it may refuse, `failures` describes every other bad answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.refusals = 0
        self.failures: list[str] = []

    async def get(self, path: str) -> dict[str, Any]:
        """What the server says at `path`."""
        return await self._patiently("GET", path, None, "")

    async def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a request with a JSON body, or with none."""
        data = b"" if body is None else json.dumps(body).encode()
        return await self._patiently("POST", path, data, "" if body is None else "application/json")

    async def submit(self, fields: dict[str, str], wav: bytes) -> str:
        """Uploads a speech; the id of its task."""
        boundary = uuid.uuid4().hex
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        )
        disposition = 'Content-Disposition: form-data; name="audio_file"; filename="speech.wav"'
        body += f"--{boundary}\r\n{disposition}\r\n\r\n".encode() + wav + f"\r\n--{boundary}--\r\n".encode()
        answer = await self._patiently("POST", "/generate_video", body, f"multipart/form-data; boundary={boundary}")
        return str(answer["task_id"])

    async def _patiently(self, method: str, path: str, body: bytes | None, kind: str) -> dict[str, Any]:
        """Tries for a minute, since faults are part of the run; raises the last error after that."""
        request = urllib.request.Request(self._url + path, body, {"Content-Type": kind} if kind else {}, method=method)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return await asyncio.to_thread(_send, request)
            except OSError as error:  # HTTPError, URLError and timeouts are
                if isinstance(error, urllib.error.HTTPError) and error.code in _REFUSED:
                    self.refusals += 1
                else:
                    self.failures.append(f"{method} {path.rpartition('/')[0]}: {error}")
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_AGAIN_S)


def _send(request: urllib.request.Request) -> dict[str, Any]:
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        return dict(json.load(answer))
