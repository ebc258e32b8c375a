"""A mouth that plays sound in its time, to nobody."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from conversation.realtime.actions import Play
from conversation.turn.events import Event, SpeechEnd, SpeechOver

RATE_HZ = 24_000


class Told(Protocol):
    async def happened(self, event: Callable[[float], Event]) -> None: ...


class TimedSoundMouth:
    """`played_s` has how much of each speech was played by its end."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.played_s: dict[int, float] = {}
        self.samples: dict[int, int] = {}
        self.cut: list[int] = []
        self.dialogue: Told | None = None
        self._clock = clock
        self._began_s: dict[int, float] = {}
        self._ends: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def play(self, sound: Play) -> None:
        self._began_s.setdefault(sound.speech, self._clock())
        self.samples[sound.speech] = self.samples.get(sound.speech, 0) + len(sound.samples)

    def end(self, speech: int) -> None:
        self._ends[speech] = self._start(self._to_the_end(speech))

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

    async def _to_the_end(self, speech: int) -> None:
        await asyncio.sleep(self._began_s[speech] + self.samples[speech] / RATE_HZ - self._clock())
        await self._over(speech, SpeechEnd.COMPLETED)

    async def _over(self, speech: int, end: SpeechEnd) -> None:
        assert self.dialogue is not None
        heard_s = min(self.samples[speech] / RATE_HZ, self._clock() - self._began_s[speech])
        self.played_s[speech] = heard_s
        await self.dialogue.happened(lambda at_s: SpeechOver(at_s, speech, heard_s, end))
