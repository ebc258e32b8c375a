"""A dialogue with a Realtime server: the microphone's sound in, the answer's sound out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from conversation.activity.detector import VoiceDetector, VoiceNetwork
from conversation.kept_sound import KeptSound
from conversation.message import Message
from conversation.realtime.actions import Connected, Lost, Play, RealtimeAction, RealtimeEvent, Received, Send
from conversation.realtime.connection import RealtimeConnection, RealtimeProvider
from conversation.realtime.machine import RealtimeMachine
from conversation.realtime.messages import RATE_HZ, Wish, sound
from conversation.recognition.recogniser import RATE_HZ as HEARD_HZ
from conversation.response.responder import ToolCall
from conversation.turn.actions import Action, CancelSpeech, DropSound, EndSpeech, KeepSound
from conversation.turn.events import Event, Released, Remarked, Tapped, TimePassed, Typed, VoiceBegan, VoiceEnded
from conversation.turn.state import TurnRules

_MOST_WAITING = 64  # events; who makes them waits

logger = logging.getLogger(__name__)


class SoundMouth(Protocol):
    """Plays sound, and tells of it by PositionHeard and exactly one SpeechOver a speech."""

    def play(self, sound: Play) -> None:
        """The next sound of a speech, which the first one begins; it comes faster than it is played."""
        ...

    def end(self, speech: int) -> None:
        """No further sound of it comes."""
        ...

    def cancel(self, speech: int) -> None:
        """Fall silent at once."""
        ...


@dataclass(frozen=True)
class RealtimeParts:
    """What such a dialogue is made of."""

    network: VoiceNetwork
    provider: RealtimeProvider
    mouth: SoundMouth


class RealtimeDialogue:
    """To be used as a `Dialogue` is; `tell` is given what is for the client, Commit, and calls of tools."""

    def __init__(
        self,
        parts: RealtimeParts,
        rules: TurnRules,
        wish: Wish,
        tell: Callable[[Action | ToolCall], None],
        clock: Callable[[], float],
        history: Sequence[Message] = (),
        saw: Callable[[RealtimeEvent, Sequence[RealtimeAction]], None] = lambda event, actions: None,
    ) -> None:
        """`saw` is called with each event and what follows from it, before that is done."""
        self._saw = saw
        self.machine = RealtimeMachine(rules, wish, history, parts.provider.first_s)
        self._mouth = parts.mouth
        self._tell = tell
        self._clock = clock
        self._detector = VoiceDetector(parts.network)
        self._sound = KeptSound()
        self._resampler: soxr.ResampleStream | None = None  # while an utterance is sent
        self._events: asyncio.Queue[Callable[[float], RealtimeEvent]] = asyncio.Queue(_MOST_WAITING)
        self._connection = RealtimeConnection(
            parts.provider,
            connected=lambda: self._events.put(Connected),
            lost=lambda code, message: self._events.put(lambda at_s: Lost(at_s, code, message)),
            received=lambda event: self._events.put(lambda at_s: Received(at_s, event)),
        )

    async def run(self) -> None:
        """Hold the dialogue until this is cancelled, which ends the connection."""
        connection = asyncio.create_task(self._connection.run(), name="realtime connection")
        try:
            while True:
                event, was_told = await self._next()
                actions = self.machine.take(event)
                self._saw(event, actions)
                for action in actions:
                    self._do(action)
                if was_told:
                    self._events.task_done()
        finally:
            connection.cancel()
            with suppress(asyncio.CancelledError):
                await connection

    async def hear(self, heard: NDArray[np.int16], played: NDArray[np.int16] | None = None) -> None:
        """The microphone's next samples, mono at 16 kHz, and as many that the avatar said meanwhile."""
        self._sound.append(heard)
        if self._resampler is not None:
            self._connection.send(sound(self._resampler.resample_chunk(heard)))
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

    async def happened(self, event: Callable[[float], Event]) -> None:
        """Something happened, as the mouth tells; it is given the time at which it is taken."""
        await self._events.put(event)

    async def remark(self, text: str) -> None:
        """Say something that nobody asked for, unless something else goes on."""
        await self.happened(lambda at_s: Remarked(at_s, text))

    async def settled(self) -> None:
        """Return once all that happened by now was taken."""
        await self._events.join()

    async def _next(self) -> tuple[RealtimeEvent, bool]:
        """The next event, and whether it was told; else it is only time that passed."""
        due_s = self.machine.due_s
        try:
            async with asyncio.timeout(None if due_s is None else max(0.0, due_s - self._clock())):
                event = await self._events.get()
        except TimeoutError:
            return TimePassed(max(self._clock(), due_s or 0.0)), False
        return event(self._clock()), True

    def _do(self, action: RealtimeAction) -> None:
        match action:
            case Send(message):
                self._connection.send(message)
            case KeepSound():
                self._sound.keep()
                self._resampler = soxr.ResampleStream(HEARD_HZ, RATE_HZ, 1, dtype="int16")
                self._connection.send(sound(self._resampler.resample_chunk(self._sound.kept())))
            case DropSound():
                if self._resampler is not None:
                    rest = self._resampler.resample_chunk(np.zeros(0, np.int16), last=True)
                    self._connection.send(sound(rest))
                self._resampler = None
            case Play():
                self._mouth.play(action)
            case EndSpeech(speech):
                self._mouth.end(speech)
            case CancelSpeech(speech):
                self._mouth.cancel(speech)
            case _:
                self._tell(action)
