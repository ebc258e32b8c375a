"""One answer as Realtime tells it: its text, its sound while it is synthesised, and what of it was heard."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import soxr

from conversation.sentences import Sentence
from latentsync.sound import SOUND_RATE_HZ
from orchestrator.conversations.speaking import SpeechRefused
from orchestrator.http.answer_speech import AnswerSpeech
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.task import Task, TaskState
from speech.log import LogReader

RATE_HZ = 24_000
_PIECE_FRAMES = 10  # 0.4 s

Send = Callable[..., Awaitable[None]]
Begun = Callable[["ToldSpeech", LogReader], None]


class ToldSpeech(AnswerSpeech):
    """An answer's speech whose sound is handed on, too."""

    def __init__(self, orchestrator: Orchestrator, channel_id: str, begun: Begun) -> None:
        super().__init__(orchestrator, channel_id)
        self._begun = begun
        self.state: TaskState | None = None
        """How it ended."""

    async def run(
        self,
        sentences: AsyncIterator[Sentence],
        placed: Callable[[int, float, float], Awaitable[None]],
        changed: Callable[[Task], Awaitable[None]],
    ) -> Task | None:
        """As of `ChannelSpeech`."""
        told = False

        async def changed_too(task: Task) -> None:
            nonlocal told
            if not told and not task.state.final and (reader := self.sound()) is not None:
                told = True
                self._begun(self, reader)
            await changed(task)

        try:
            final = await super().run(sentences, placed, changed_too)
        except SpeechRefused:
            self.state = TaskState.FAILED
            raise
        self.state = TaskState.CANCELLED if final is None else final.state
        return final


class SpokenAnswer:
    """The events of one response."""

    def __init__(self, send: Send) -> None:
        self.id = f"resp_{secrets.token_hex(10)}"
        self.item_id = f"item_{secrets.token_hex(10)}"
        self.speeches: list[ToldSpeech] = []
        self._send = send
        self._text: list[str] = []
        self._has_item = False

    async def begin(self) -> None:
        """It is being thought of."""
        await self._send("response.created", response=self._response("in_progress", []))

    async def add(self, sentence: str) -> None:
        """The next sentence that will be said."""
        await self._require_item()
        delta = sentence if not self._text else f" {sentence}"
        self._text.append(delta)
        await self._send("response.output_audio_transcript.delta", **self._place, delta=delta)

    async def pour(self, reader: LogReader) -> None:
        """Its sound, as fast as it comes."""
        await self._require_item()
        resampler = soxr.ResampleStream(SOUND_RATE_HZ, RATE_HZ, 1, dtype="int16")
        try:
            while len(frames := await reader.read(_PIECE_FRAMES)):
                await self._sound(resampler.resample_chunk(frames.sound.reshape(-1)).tobytes())
            await self._sound(resampler.resample_chunk(np.zeros(0, np.int16), last=True).tobytes())
        finally:
            reader.close()

    async def end(self, heard: str, failed: bool) -> None:
        """It is over, and so much of it was heard."""
        states = [speech.state for speech in self.speeches]
        status = "failed" if failed else "cancelled" if TaskState.CANCELLED in states else "completed"
        output = []
        if self._has_item:
            whole = "".join(self._text)
            item = self._item("completed" if status == "completed" else "incomplete", heard)
            await self._send("response.output_audio.done", **self._place)
            await self._send("response.output_audio_transcript.done", **self._place, transcript=whole)
            part = {"type": "audio", "transcript": whole}
            await self._send("response.content_part.done", **self._place, part=part)
            await self._send("response.output_item.done", response_id=self.id, output_index=0, item=item)
            await self._send("conversation.item.done", item=item)
            output = [item]
        await self._send("response.done", response=self._response(status, output))

    async def _sound(self, data: bytes) -> None:
        if data:
            delta = base64.b64encode(data).decode()
            await self._send("response.output_audio.delta", **self._place, delta=delta)

    async def _require_item(self) -> None:
        if self._has_item:
            return
        self._has_item = True
        item = self._item("in_progress", None)
        await self._send("response.output_item.added", response_id=self.id, output_index=0, item=item)
        await self._send("conversation.item.added", item=item)
        await self._send("response.content_part.added", **self._place, part={"type": "audio", "transcript": ""})

    @property
    def _place(self) -> dict[str, Any]:
        return {"response_id": self.id, "item_id": self.item_id, "output_index": 0, "content_index": 0}

    def _item(self, status: str, heard: str | None) -> dict[str, Any]:
        content = [] if heard is None else [{"type": "output_audio", "transcript": heard}]
        kind = {"object": "realtime.item", "type": "message", "role": "assistant"}
        return {"id": self.item_id, **kind, "status": status, "content": content}

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": "realtime.response", "status": status, "output": output}
