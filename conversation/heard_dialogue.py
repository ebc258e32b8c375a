"""What dialogues of every kind do alike: hear the person, and let a machine take what happens, in its order."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from conversation.activity.detector import VoiceDetector, VoiceNetwork
from conversation.kept_sound import KeptSound
from conversation.turn.events import Event, Released, Remarked, Tapped, TimePassed, Typed, VoiceBegan, VoiceEnded

_MOST_WAITING = 64  # events; who makes them waits

EventT = TypeVar("EventT")
ActionT = TypeVar("ActionT")
_EventT = TypeVar("_EventT", contravariant=True)
_ActionT = TypeVar("_ActionT", covariant=True)


class Machine(Protocol[_EventT, _ActionT]):
    """Decides what follows from what happened."""

    @property
    def due_s(self) -> float | None:
        """When it must be told that time passed; None while it waits for nothing."""
        ...

    def take(self, event: Event | _EventT) -> Sequence[_ActionT]:
        """What is to be done now, in this order."""
        ...


class HeardDialogue(ABC, Generic[EventT, ActionT]):
    """A dialogue with one person, whose microphone it hears; subclasses do what the machine decides."""

    def __init__(
        self,
        machine: Machine[EventT, ActionT],
        network: VoiceNetwork,
        clock: Callable[[], float],
        saw: Callable[[Event | EventT, Sequence[ActionT]], None],
    ) -> None:
        """`saw` is called with each event and what follows from it, before that is done."""
        self._machine = machine
        self._clock = clock
        self._saw = saw
        self._detector = VoiceDetector(network)
        self._sound = KeptSound()
        self._events: asyncio.Queue[Callable[[float], Event | EventT]] = asyncio.Queue(_MOST_WAITING)

    async def run(self) -> None:
        """Hold the dialogue until this is cancelled."""
        while True:
            event, was_told = await self._next()
            actions = self._machine.take(event)
            self._saw(event, actions)
            for action in actions:
                self._do(action)
            if was_told:
                self._events.task_done()

    async def hear(self, heard: NDArray[np.int16], played: NDArray[np.int16] | None = None) -> None:
        """The microphone's next samples, mono at 16 kHz, and as many that the avatar said meanwhile."""
        self._sound.append(heard)
        for change in self._detector.push(heard, played):
            if change.is_voice:
                self._sound.voice_began(change.lasted_s)
                await self.happened(lambda at_s, each=change: VoiceBegan(at_s, each.lasted_s))  # type: ignore[misc]
            else:
                await self.happened(
                    lambda at_s, each=change: VoiceEnded(at_s, each.lasted_s, each.silent_s)  # type: ignore[misc]
                )

    async def release(self) -> None:
        """The person lets go of the button: the utterance is over."""
        for change in self._detector.finish():
            await self.happened(lambda at_s, each=change: VoiceEnded(at_s, each.lasted_s))  # type: ignore[misc]
        await self.happened(Released)

    async def tap(self) -> None:
        """End the answer."""
        await self.happened(Tapped)

    async def type(self, text: str) -> None:
        """A turn that is text."""
        await self.happened(lambda at_s: Typed(at_s, text))

    async def happened(self, event: Callable[[float], Event | EventT]) -> None:
        """Something happened, as the mouth tells; it is given the time at which it is taken."""
        await self._events.put(event)

    async def remark(self, text: str) -> None:
        """Say something that nobody asked for, unless something else goes on."""
        await self.happened(lambda at_s: Remarked(at_s, text))

    async def settled(self) -> None:
        """Return once all that happened by now was taken."""
        await self._events.join()

    @abstractmethod
    def _do(self, action: ActionT) -> None:
        """Do what the machine decided; this doesn't wait."""

    async def _next(self) -> tuple[Event | EventT, bool]:
        """The next event, and whether it was told; else it is only time that passed."""
        due_s = self._machine.due_s
        try:
            async with asyncio.timeout(None if due_s is None else max(0.0, due_s - self._clock())):
                event = await self._events.get()
        except TimeoutError:
            return TimePassed(max(self._clock(), due_s or 0.0)), False
        return event(self._clock()), True
