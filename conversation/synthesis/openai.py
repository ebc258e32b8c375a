"""A synthesiser elsewhere: `/audio/speech` as OpenAI has it, and many servers of other models too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field

import httpx
import numpy as np
from numpy.typing import NDArray

from conversation.provider_answers import PASSING, key_header, refusal, refuses_key, retry_after_s
from conversation.synthesis.synthesiser import AWAY, FAILED, SynthesisError, Voice

_ATTEMPTS = 3
_BEGIN_TIMES = 2.0  # of the timeout, for connection and head together: each has it alone, and a head can trickle
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0
# Of real time: far below what a viewer can be spoken to with, and above what a connection brings that is stuck.
_SLOWEST = 0.1
# What begins a file of another format: servers that don't know `pcm` send what they like.
_OTHER_FORMATS = (b"RIFF", b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"{", b"<")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provider:
    """Where it is: the address before `/audio/speech`, a key where one is needed, and what is asked for there.

    `voices` are names that it has, its default first. Within `timeout_s` it must be reached, begin to answer, go on. In
    each such time it must bring a tenth of it as sound: one that sends a byte now and then is given up.
    """

    url: str
    model: str
    voices: tuple[str, ...]
    key: str | None = field(default=None, repr=False)
    rate_hz: int = 24_000
    timeout_s: float = 10.0


class _Passing(RuntimeError):
    """What may be gone at the next attempt, in `after_s` where the server named a time."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class OpenAiSynthesiser:
    """Asks for PCM and hands it on as it comes. What fails before its first byte is tried again, never behind it."""

    def __init__(self, provider: Provider) -> None:
        self.rate_hz = provider.rate_hz
        self.voices = tuple(Voice(name) for name in provider.voices)
        self._provider = provider
        self._client = _client(provider)

    async def run(self) -> None:
        """Keep its connections until it is cancelled."""
        if self._client.is_closed:
            self._client = _client(self._provider)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._client.aclose()

    async def synthesise(self, text: str, voice: Voice) -> AsyncGenerator[NDArray[np.int16], None]:
        """The sentence in blocks as they come; raises SynthesisError."""
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            begun = False
            try:
                async with aclosing(self._attempt(text, voice)) as blocks:
                    async for block in blocks:
                        begun = True
                        yield block
                return
            except (_Passing, httpx.TransportError) as error:
                reason = str(error) or type(error).__name__
                if begun:
                    message = f"The synthesiser's answer broke off ({reason}). Say the rest again."
                    raise SynthesisError(FAILED, message) from None
                if attempt == _ATTEMPTS:
                    message = f"The synthesiser at {self._provider.url} can't be used now ({reason}). Try again later."
                    raise SynthesisError(AWAY, message) from None
                logger.warning("the synthesiser at %s: %s; attempt %d", self._provider.url, reason, attempt)
                wanted_s = error.after_s if isinstance(error, _Passing) and error.after_s is not None else pause_s
            await asyncio.sleep(min(wanted_s, _LONGEST_PAUSE_S))
            pause_s *= 2

    async def _attempt(self, text: str, voice: Voice) -> AsyncGenerator[NDArray[np.int16], None]:
        async with (
            self._answer(text, voice) as answer,
            aclosing(_in_time(answer.aiter_bytes(), self._provider)) as data_in_time,
        ):
            carried, first = b"", True
            async for data in data_in_time:
                carried += data
                if first and len(carried) < 4:
                    continue
                if first and carried.startswith(_OTHER_FORMATS):
                    raise SynthesisError(FAILED, "The synthesiser sends no PCM, which is what it is asked for.")
                first = False
                whole = len(carried) - len(carried) % 2
                samples, carried = np.frombuffer(carried[:whole], "<i2").astype(np.int16), carried[whole:]
                if len(samples):
                    yield samples
            if carried:
                raise SynthesisError(FAILED, "The synthesiser's answer ends within a sample: some of it is missing.")

    @asynccontextmanager
    async def _answer(self, text: str, voice: Voice) -> AsyncIterator[httpx.Response]:
        provider = self._provider
        asked = {"model": provider.model, "input": text, "voice": voice.name, "response_format": "pcm"}
        body = asked if voice.rate == 1.0 else {**asked, "speed": voice.rate}  # not all models have a speed
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(_BEGIN_TIMES * provider.timeout_s):
                    asking = self._client.stream("POST", f"{provider.url}/audio/speech", json=body)
                    answer = await held.enter_async_context(asking)
            except TimeoutError:
                raise _Passing(f"no answer within {_BEGIN_TIMES * provider.timeout_s:g} s") from None
            if answer.status_code in (*PASSING, httpx.codes.TOO_MANY_REQUESTS):
                raise _Passing(f"status {answer.status_code}", retry_after_s(answer))
            if refused := refuses_key("synthesiser", provider.url, answer.status_code):
                raise SynthesisError(AWAY, refused)
            if answer.status_code != httpx.codes.OK:
                message = f"The synthesiser refuses the text (status {answer.status_code}): {await refusal(answer)}"
                raise SynthesisError(FAILED, message)
            kind = answer.headers.get("content-type", "").partition(";")[0]
            if kind.startswith("text/") or kind.endswith("json"):
                raise SynthesisError(FAILED, f"The synthesiser answers with {kind}, which is no sound.")
            yield answer


def _client(provider: Provider) -> httpx.AsyncClient:
    return httpx.AsyncClient(headers=key_header(provider.key), timeout=provider.timeout_s)


async def _in_time(blocks: AsyncIterator[bytes], provider: Provider) -> AsyncGenerator[bytes, None]:
    """The blocks; raises SynthesisError once they hardly come. What doesn't come at all the connection notices.

    Only time that was waited for them counts: who hears them may pause.
    """
    clock = asyncio.get_running_loop().time
    waited_s, received = 0.0, 0
    if (block := await anext(blocks, None)) is None:
        return
    while block is not None:
        received += len(block)
        if waited_s >= provider.timeout_s:
            sound_s = received / (2 * provider.rate_hz)
            if sound_s < _SLOWEST * waited_s:
                message = f"The synthesiser sent {sound_s:.2g} s of sound in {waited_s:.2g} s: too slow. Try again."
                raise SynthesisError(AWAY, message)
            waited_s, received = 0.0, 0
        yield block
        began = clock()
        block = await anext(blocks, None)
        waited_s += clock() - began
