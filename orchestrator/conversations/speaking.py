"""What a conversation needs of a channel: that it says sentences, and tells what of them was heard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from conversation.sentences import Sentence
from orchestrator.tasks.task import Task


class SpeechRefused(RuntimeError):
    """The channel doesn't take the speech; `code` is stable, `message` says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ChannelSpeech(Protocol):
    """One speech on a channel, whose sentences are still being written."""

    async def run(
        self,
        sentences: AsyncIterator[Sentence],
        placed: Callable[[int, float, float], Awaitable[None]],
        changed: Callable[[Task], Awaitable[None]],
    ) -> Task | None:
        """Say the sentences to their end; returns the speech's task as it ended, None where the server stops first.

        `placed` is told of each sentence from which to which second of the speech's sound it lasts, `changed` each
        change of the task. Raises SpeechRefused.
        """
        ...

    async def run_sound(
        self, sound: AsyncIterator[bytes], rate_hz: int, changed: Callable[[Task], Awaitable[None]]
    ) -> Task | None:
        """The same of sound, mono PCM of 16 bits, little-endian, that comes at any pace."""
        ...

    async def cancel(self) -> None:
        """Fall silent at once; the task ends by it."""
        ...


NewSpeech = Callable[[], ChannelSpeech]
