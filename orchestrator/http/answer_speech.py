"""The answers of a conversation as speeches of its channel, in the way of every other text that is said."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from conversation.sentences import Sentence
from conversation.synthesis.synthesiser import SynthesisError
from orchestrator.conversations.speaking import SpeechRefused
from orchestrator.http.errors import ApiError
from orchestrator.http.live_speech import LiveSpeech
from orchestrator.http.text_source import text_source
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks.task import Task
from speech.audio.live_pcm import PcmSource
from speech.audio.live_source import LiveSource
from speech.log import LogReader, SoundFrames
from speech.source import SpeechSource

logger = logging.getLogger(__name__)


class AnswerSpeech:
    """One answer: a task of the channel, into whose log its sentences are synthesised one after another."""

    def __init__(self, orchestrator: Orchestrator, channel_id: str) -> None:
        self._orchestrator = orchestrator
        self._channel_id = channel_id
        self._speech: LiveSpeech | None = None
        self._is_cancelled = False

    async def run(
        self,
        sentences: AsyncIterator[Sentence],
        placed: Callable[[int, float, float], Awaitable[None]],
        changed: Callable[[Task], Awaitable[None]],
    ) -> Task | None:
        """As of `ChannelSpeech`. Whatever ends this early ends the task, too."""
        try:
            source = text_source(self._orchestrator, self._channel_id, None, None)
            speech = await self._begin(source, SpeechSource.TEXT)
        except (ApiError, SynthesisError, KeyError) as error:
            raise _refused(error, self._channel_id) from None
        return await self._said(speech, source.frames_of(sentences, placed), changed)

    async def run_sound(
        self, sound: AsyncIterator[bytes], rate_hz: int, changed: Callable[[Task], Awaitable[None]]
    ) -> Task | None:
        """As of `ChannelSpeech`, with the same care for its end."""
        source = PcmSource(rate_hz, 1)
        try:
            speech = await self._begin(source, SpeechSource.STREAM)
        except (ApiError, KeyError) as error:
            raise _refused(error, self._channel_id) from None
        return await self._said(speech, source.frames(sound), changed)

    async def _begin(self, source: LiveSource, kind: SpeechSource) -> LiveSpeech:
        self._speech = await LiveSpeech.begin(self._orchestrator, self._channel_id, {}, None, source, kind)
        return self._speech

    async def _said(
        self,
        speech: LiveSpeech,
        sound: AsyncGenerator[SoundFrames, None],
        changed: Callable[[Task], Awaitable[None]],
    ) -> Task | None:
        async with aclosing(sound) as frames:
            receiving = asyncio.create_task(self._receive(speech, frames), name=f"conversation-{speech.task.id}")
            final: Task | None = None
            try:
                if self._is_cancelled:
                    await speech.cancel()
                final = await speech.follow(changed)
            finally:
                receiving.cancel()
                await asyncio.wait({receiving})
                if final is None:
                    await speech.cancel()  # its conversation ends with the server, and isn't said after it
        return final

    async def cancel(self) -> None:
        """Fade out, and end the task."""
        self._is_cancelled = True
        if self._speech is not None:
            await self._speech.cancel()

    def sound(self) -> LogReader | None:
        """Its sound for whoever hears it too, to be closed; None where it isn't said."""
        return None if self._speech is None else self._speech.sound()

    async def _receive(self, speech: LiveSpeech, frames: AsyncIterator[SoundFrames]) -> None:
        try:
            await speech.receive(frames)
        except Exception:  # nobody would ever end this speech
            logger.exception("task %s", speech.task.id)
            await speech.cancel()


def _refused(error: ApiError | SynthesisError | KeyError, channel_id: str) -> SpeechRefused:
    if isinstance(error, KeyError):
        return SpeechRefused("unknown_channel", f"There is no channel {channel_id!r} any more.")
    return SpeechRefused(error.code, error.message)
