"""The avatar's mouth: each answer of a conversation is one speech of its channel, of sentences or of sound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar

from conversation.realtime.actions import Play
from conversation.realtime.messages import RATE_HZ
from conversation.sentences import Sentence
from conversation.turn.actions import Say
from conversation.turn.events import Event, PositionHeard, SentencePlaced, SpeechEnd, SpeechOver
from orchestrator.conversations.speaking import ChannelSpeech, NewSpeech, SpeechRefused
from orchestrator.tasks.task import Task, TaskState
from speech.audio.frames import FPS

logger = logging.getLogger(__name__)

Part = TypeVar("Part", Sentence, bytes)
Happened = Callable[[Callable[[float], Event]], Awaitable[None]]


class ChannelMouth:
    """A dialogue's `Mouth` and `SoundMouth`. It tells of each speech's end exactly once, however that comes about."""

    def __init__(
        self, new_speech: NewSpeech, happened: Happened, moved: Callable[[int, Task], None] = lambda turn, task: None
    ) -> None:
        """`happened` takes the dialogue's events; `moved` is called with the task of a turn's speech as it changes."""
        self._new_speech = new_speech
        self._happened = happened
        self._moved = moved
        self._running: dict[asyncio.Task[None], _Running] = {}

    def say(self, sentence: Say) -> None:
        """The next sentence of a speech, which the first one begins."""
        running = self._of(sentence.speech) or self._begin(sentence.turn, sentence.speech, self._sentences_said)
        running.parts.put_nowait(Sentence(sentence.text, sentence.pause_s))

    def play(self, sound: Play) -> None:
        """The next sound of a speech, which the first one begins."""
        running = self._of(sound.speech) or self._begin(sound.turn, sound.speech, self._sound_played)
        running.parts.put_nowait(sound.samples.astype("<i2").tobytes())

    def end(self, speech: int) -> None:
        """No further sentence of it comes."""
        if (running := self._of(speech)) is not None:
            running.parts.put_nowait(None)

    def cancel(self, speech: int) -> None:
        """Fall silent at once."""
        if (running := self._of(speech)) is not None and not running.is_cancelled:
            running.is_cancelled = True
            task = asyncio.create_task(_cancel(running.speech), name=f"conversation cancel {speech}")
            running.cancelling = task

    async def aclose(self) -> None:
        """Cancel whatever is being said; returns once the end of all of it was told."""
        for running in list(self._running.values()):
            self.cancel(running.number)
        while self._running:
            await asyncio.wait(list(self._running))

    async def abandon(self) -> None:
        """Give up on what is being said still, whose end nobody waits for any more."""
        left = list(self._running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _of(self, number: int) -> _Running | None:
        return next((each for each in self._running.values() if each.number == number), None)

    def _begin(self, turn: int, number: int, said: Callable[[_Running], Awaitable[Task | None]]) -> _Running:
        running = _Running(turn, number, self._new_speech())
        task = asyncio.create_task(self._run(running, said), name=f"conversation speech {number}")
        self._running[task] = running
        task.add_done_callback(self._running.pop)
        return running

    async def _sentences_said(self, running: _Running) -> Task | None:
        return await running.speech.run(
            running.come(Sentence), partial(self._placed, running), partial(self._changed, running)
        )

    async def _sound_played(self, running: _Running) -> Task | None:
        return await running.speech.run_sound(running.come(bytes), RATE_HZ, partial(self._changed, running))

    async def _run(self, running: _Running, said: Callable[[_Running], Awaitable[Task | None]]) -> None:
        final: Task | None = None
        message = "The server stops."
        try:
            final = await said(running)
        except SpeechRefused as error:
            message = error.message
        except Exception:  # whatever it is: the conversation waits for this speech's end
            logger.exception("the speech of a conversation")
            message = "The server failed at this answer. Its log says why."
        finally:
            if running.cancelling is not None:
                await asyncio.wait({running.cancelling})
        heard_s = running.heard_s if final is None else final.frames_heard / FPS
        end = _end(final, running.is_cancelled)
        if final is not None and final.failure is not None:
            message = final.failure.message
        await self._happened(
            lambda at_s: SpeechOver(at_s, running.number, heard_s, end, message if end is SpeechEnd.FAILED else "")
        )

    async def _placed(self, running: _Running, index: int, start_s: float, end_s: float) -> None:
        await self._happened(lambda at_s: SentencePlaced(at_s, running.number, index, start_s, end_s))

    async def _changed(self, running: _Running, task: Task) -> None:
        self._moved(running.turn, task)
        heard_s = task.frames_heard / FPS
        if heard_s > running.heard_s:
            running.heard_s = heard_s
            await self._happened(lambda at_s: PositionHeard(at_s, running.number, heard_s))


class _Running:
    """A speech between its first sentence or sound and its end."""

    def __init__(self, turn: int, number: int, speech: ChannelSpeech) -> None:
        self.turn = turn
        self.number = number
        self.speech = speech
        # Holds no more than one answer, whose length has a limit.
        self.parts: asyncio.Queue[Sentence | bytes | None] = asyncio.Queue()
        self.heard_s = 0.0
        self.is_cancelled = False
        self.cancelling: asyncio.Task[None] | None = None

    async def come(self, kind: type[Part]) -> AsyncIterator[Part]:
        """The sentences, or the sound, as they come."""
        while (part := await self.parts.get()) is not None:
            assert isinstance(part, kind)
            yield part


async def _cancel(speech: ChannelSpeech) -> None:
    try:
        await speech.cancel()
    except Exception:  # the dialogue doesn't wait for a cancelled speech for ever
        logger.exception("the speech of a conversation could not be cancelled")


def _end(final: Task | None, is_cancelled: bool) -> SpeechEnd:
    if final is not None and final.state is TaskState.DONE:
        return SpeechEnd.COMPLETED
    interrupted = is_cancelled or (final is not None and final.state is TaskState.CANCELLED)
    return SpeechEnd.INTERRUPTED if interrupted else SpeechEnd.FAILED
