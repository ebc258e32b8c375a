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

from conversation.activity.detector import VoiceNetwork
from conversation.heard_dialogue import HeardDialogue
from conversation.message import Message
from conversation.realtime.actions import Connected, Lost, Play, RealtimeAction, RealtimeEvent, Received, Send
from conversation.realtime.connection import RealtimeConnection, RealtimeProvider
from conversation.realtime.machine import RealtimeMachine
from conversation.realtime.messages import RATE_HZ, Wish, sound
from conversation.recognition.recogniser import RATE_HZ as HEARD_HZ
from conversation.response.responder import ToolCall
from conversation.turn.actions import Action, CancelSpeech, DropSound, EndSpeech, KeepSound
from conversation.turn.state import TurnRules

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


class RealtimeDialogue(HeardDialogue[RealtimeEvent, RealtimeAction]):
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
        self.machine = RealtimeMachine(rules, wish, history, parts.provider.first_s)
        super().__init__(self.machine, parts.network, clock, saw)
        self._mouth = parts.mouth
        self._tell = tell
        self._resampler: soxr.ResampleStream | None = None  # while an utterance is sent
        self._connection = RealtimeConnection(
            parts.provider,
            connected=lambda: self.happened(Connected),
            lost=lambda code, message: self.happened(lambda at_s: Lost(at_s, code, message)),
            received=lambda event: self.happened(lambda at_s: Received(at_s, event)),
        )

    async def run(self) -> None:
        """Hold the dialogue until this is cancelled, which ends the connection."""
        connection = asyncio.create_task(self._connection.run(), name="realtime connection")
        try:
            await super().run()
        finally:
            connection.cancel()
            with suppress(asyncio.CancelledError):
                await connection

    async def hear(self, heard: NDArray[np.int16], played: NDArray[np.int16] | None = None) -> None:
        """The microphone's next samples, mono at 16 kHz, and as many that the avatar said meanwhile."""
        if self._resampler is not None:
            self._connection.send(sound(self._resampler.resample_chunk(heard)))
        await super().hear(heard, played)

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
