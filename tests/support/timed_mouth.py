"""A mouth that says sentences in the time that their letters let expect, without a sound."""

import asyncio
from collections.abc import Callable

from conversation.dialogue import Dialogue
from conversation.synthesis.holding import expected_s
from conversation.turn.actions import Say
from conversation.turn.events import SentencePlaced, SpeechEnd, SpeechOver


class TimedMouth:
    """Tells the dialogue what it says; `said` has the sentences, `cut` the speeches that were cancelled."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.said: list[str] = []
        self.cut: list[int] = []
        self.dialogue: Dialogue | None = None
        self._clock = clock
        self._began_s = self._length_s = 0.0
        self._ends: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def say(self, sentence: Say) -> None:
        if sentence.index == 0:
            self._began_s, self._length_s = self._clock(), 0.0
        start_s = max(self._length_s, self._clock() - self._began_s)
        end_s = start_s + expected_s(sentence.text)
        self._length_s = end_s + sentence.pause_s
        self.said.append(sentence.text)
        self._start(self._placed(sentence, start_s, end_s))

    def end(self, speech: int) -> None:
        self._ends[speech] = self._start(self._played(speech))

    def cancel(self, speech: int) -> None:
        self.cut.append(speech)
        if speech in self._ends:
            self._ends[speech].cancel()
        self._start(self._over(speech, SpeechEnd.INTERRUPTED))

    def _start(self, work: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _placed(self, sentence: Say, start_s: float, end_s: float) -> None:
        assert self.dialogue is not None
        await self.dialogue.happened(
            lambda at_s: SentencePlaced(at_s, sentence.speech, sentence.index, start_s, end_s)
        )  # fmt: skip

    async def _played(self, speech: int) -> None:
        await asyncio.sleep(self._began_s + self._length_s - self._clock())
        await self._over(speech, SpeechEnd.COMPLETED)

    async def _over(self, speech: int, end: SpeechEnd) -> None:
        assert self.dialogue is not None
        heard_s = min(self._length_s, self._clock() - self._began_s)
        await self.dialogue.happened(lambda at_s: SpeechOver(at_s, speech, heard_s, end))
