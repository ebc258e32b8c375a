"""The clients: some upload speech without end, others ask how the tasks are."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable
from dataclasses import dataclass, field

import httpx

REFUSALS = (429, 503)
"""Answers to a client when there is too much to do; it tries again after the time in `Retry-After`."""
_POLL_S = 0.5
_PATIENCE_S = 60.0
_KEPT_EXAMPLES = 20
_NO_RETRY_S = 1.0
# One for all: httpx would read the machine's certificates for each client, which takes longer than all that is asked.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Answers:
    """What one kind of client was answered: statuses with their codes, seconds by status, and what was wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def note(self, answer: httpx.Response, taken_s: float) -> None:
        """Count an answer; one that is not promised is kept as an example."""
        code = "" if answer.is_success else f" {_code(answer)}"
        name = f"{answer.status_code}{code}"
        self.counts[name] += 1
        self.seconds[answer.status_code].append(taken_s)
        if not answer.is_success and answer.status_code not in REFUSALS:
            self._wrong(name, answer.text[:300])
        elif answer.status_code in REFUSALS and "Retry-After" not in answer.headers:
            self._wrong(f"{name} without Retry-After", "")

    def note_failure(self, error: httpx.TransportError) -> None:
        """Count a request without an answer."""
        self._wrong(type(error).__name__, str(error))

    def _wrong(self, name: str, detail: str) -> None:
        self.wrong[name] += 1
        if len(self.examples) < _KEPT_EXAMPLES:
            self.examples.append(f"{name}: {detail}")


@dataclass
class Clients:
    """All clients of a run, each with an address of its own, so that the server takes them for as many callers."""

    url: str
    speech: bytes
    until: float
    uploads: Answers = field(default_factory=Answers)
    polls: Answers = field(default_factory=Answers)
    accepted: list[str] = field(default_factory=list)
    _latest: deque[str] = field(default_factory=lambda: deque(maxlen=100))

    async def run(self, uploaders: int, pollers: int) -> None:
        """Returns when the time is over and every request has been answered."""
        async with asyncio.TaskGroup() as group:
            for number in range(uploaders):
                group.create_task(self._upload(_address(1, number)))
            for number in range(pollers):
                group.create_task(self._poll(_address(2, number), number))

    async def _upload(self, address: str) -> None:
        async with self._client(address) as http:
            while time.monotonic() < self.until:
                files = {"audio_file": ("speech.wav", self.speech)}
                answer = await self._timed(self.uploads, http.post("/v1/tasks", files=files))
                if answer is not None and answer.is_success:
                    task_id = answer.json()["task_id"]
                    self.accepted.append(task_id)
                    self._latest.append(task_id)
                elif answer is not None and "Retry-After" in answer.headers:
                    await self._pause(float(answer.headers["Retry-After"]))
                else:
                    await self._pause(_NO_RETRY_S)

    async def _poll(self, address: str, number: int) -> None:
        async with self._client(address) as http:
            request = number
            while time.monotonic() < self.until:
                request += 1
                path = f"/v1/tasks/{self._latest[request % len(self._latest)]}" if self._latest else "/v1/tasks"
                await self._timed(self.polls, http.get(path))
                await self._pause(_POLL_S)

    async def _timed(self, answers: Answers, asking: Awaitable[httpx.Response]) -> httpx.Response | None:
        began = time.monotonic()
        try:
            answer = await asking
        except httpx.TransportError as error:
            answers.note_failure(error)
            return None
        answers.note(answer, time.monotonic() - began)
        return answer

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, min(seconds, self.until - time.monotonic())))

    def _client(self, address: str) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(local_address=address, verify=_NO_TLS)
        return httpx.AsyncClient(base_url=self.url, transport=transport, timeout=_PATIENCE_S)


def _address(kind: int, number: int) -> str:
    """All of 127.0.0.0/8 is this machine."""
    return f"127.{kind}.{number // 250}.{number % 250 + 1}"


def _code(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "without a code"
