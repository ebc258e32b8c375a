"""A recogniser elsewhere: `/audio/transcriptions` as OpenAI has it, and many servers of other models too."""

from __future__ import annotations

import asyncio
import io
import wave
from dataclasses import dataclass, field

import httpx
import numpy as np
from numpy.typing import NDArray

from conversation.message import whole
from conversation.provider_answers import PASSING, key_header, refuses_key
from conversation.recognition.recogniser import AWAY, FAILED, RATE_HZ, RecognitionError

_ATTEMPTS, _PAUSE_S = 2, 0.25  # a person waits
_LONGEST_ANSWER = 64_000


@dataclass(frozen=True)
class TranscriptionProvider:
    """The address before `/audio/transcriptions`, a key where one is needed, and the model asked for there."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 10.0


class OpenAiRecogniser:
    """Sends each utterance as a WAV file. Asking twice does no harm, so what passes is tried once more."""

    def __init__(self, provider: TranscriptionProvider) -> None:
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

    async def recognise(self, sound: NDArray[np.int16], language: str) -> str:
        """The words of mono sound at 16 kHz; raises RecognitionError."""
        asked = {"model": self._provider.model, "response_format": "json"}
        if language:
            asked["language"] = language.partition("-")[0].lower()
        reason = ""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with asyncio.timeout(self._provider.timeout_s):
                    status, body = await self._answer(asked, _wav(sound))
            except (httpx.TransportError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
            else:
                if status not in (*PASSING, httpx.codes.TOO_MANY_REQUESTS):
                    return self._text(status, body)
                reason = f"status {status}"
            if attempt < _ATTEMPTS:
                await asyncio.sleep(_PAUSE_S)
        raise RecognitionError(
            AWAY, f"The recogniser at {self._provider.url} can't be used now ({reason}). Say it again later."
        )

    async def _answer(self, asked: dict[str, str], sound: bytes) -> tuple[int, bytes]:
        url, files = f"{self._provider.url}/audio/transcriptions", {"file": ("speech.wav", sound, "audio/wav")}
        async with self._client.stream("POST", url, data=asked, files=files) as answer:
            body = b""
            async for data in answer.aiter_bytes():
                body += data
                if len(body) > _LONGEST_ANSWER:
                    raise RecognitionError(FAILED, f"The recogniser answers with more than {_LONGEST_ANSWER} bytes.")
            return answer.status_code, body

    def _text(self, status: int, body: bytes) -> str:
        if refused := refuses_key("recogniser", self._provider.url, status):
            raise RecognitionError(AWAY, refused)
        if status != httpx.codes.OK:
            raise RecognitionError(FAILED, f"The recogniser refuses the sound (status {status}). Say it again.")
        try:
            text = httpx.Response(status, content=body).json()["text"]
        except (ValueError, LookupError, TypeError, RecursionError):
            text = None
        if not isinstance(text, str):
            raise RecognitionError(FAILED, 'The recogniser\'s answer is not {"text": …}. Say it again.')
        return whole(text.strip())


def _client(provider: TranscriptionProvider) -> httpx.AsyncClient:
    return httpx.AsyncClient(headers=key_header(provider.key), timeout=provider.timeout_s)


def _wav(sound: NDArray[np.int16]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE_HZ)
        writer.writeframes(sound.astype("<i2").tobytes())
    return file.getvalue()
