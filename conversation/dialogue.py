"""A dialogue: the microphone's sound in, sentences to say out. The turn's machine decides, the parts do it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from conversation.activity.detector import VoiceNetwork
from conversation.activity.turn_detector import TurnDetector
from conversation.heard_dialogue import HeardDialogue
from conversation.message import Message
from conversation.recognition.recogniser import Recogniser, RecognitionError
from conversation.response.responder import Responder, ResponseError, TextPiece, Tool, ToolCall
from conversation.turn.actions import (
    Action,
    Ask,
    CancelSpeech,
    DropSound,
    EndSpeech,
    KeepSound,
    Recognise,
    Say,
    StopAsking,
)
from conversation.turn.events import (
    AnswerEnded,
    AnswerPiece,
    Event,
    Part,
    PartFailed,
    PauseJudged,
    Recognised,
)
from conversation.turn.machine import TurnMachine
from conversation.turn.state import TurnRules

logger = logging.getLogger(__name__)


class Mouth(Protocol):
    """Says sentences, and tells of it by SentencePlaced, PositionHeard and exactly one SpeechOver a speech."""

    def say(self, sentence: Say) -> None:
        """The next sentence of a speech, which the first one begins."""
        ...

    def end(self, speech: int) -> None:
        """No further sentence of it comes."""
        ...

    def cancel(self, speech: int) -> None:
        """Fall silent at once."""
        ...


@dataclass(frozen=True)
class Parts:
    """What a dialogue is made of; they run elsewhere, and may be shared."""

    network: VoiceNetwork
    recogniser: Recogniser
    responder: Responder
    mouth: Mouth
    detector: TurnDetector | None = None


class Dialogue(HeardDialogue[Event, Action]):
    """One dialogue with one person. `tell` is given what is for the client, Commit, and calls of tools."""

    def __init__(
        self,
        parts: Parts,
        rules: TurnRules,
        tell: Callable[[Action | ToolCall], None],
        clock: Callable[[], float],
        history: Sequence[Message] = (),
        tools: Sequence[Tool] = (),
        saw: Callable[[Event, Sequence[Action]], None] = lambda event, actions: None,
    ) -> None:
        """`saw` is called with each event and what follows from it, before that is done."""
        self.machine = TurnMachine(rules, history)
        super().__init__(self.machine, parts.network, clock, saw)
        self._parts = parts
        self._language = rules.language
        self._tell = tell
        self._tools = tools
        self._recognising: asyncio.Task[None] | None = None
        self._judging: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Hold the dialogue until this is cancelled, which ends what is being recognised and answered."""
        try:
            await super().run()
        finally:
            works = [work for work in (self._recognising, self._judging, self._asking) if work is not None]
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)

    def _do(self, action: Action) -> None:
        parts = self._parts
        match action:
            case KeepSound():
                self._sound.keep()
            case DropSound():
                _end(self._recognising)
            case Recognise(turn, request):
                _end(self._recognising)
                sound = self._sound.kept()
                recognising = self._guarded(
                    Part.RECOGNISER, turn, request, lambda: self._recognise(turn, request, sound)
                )
                self._recognising = self._work("recogniser", recognising)
                if parts.detector is not None:
                    _end(self._judging)
                    judging = self._judge(parts.detector, turn, request, sound)
                    self._judging = self._work("turn detector", judging)
            case Ask(turn, history):
                asking = self._guarded(Part.RESPONDER, turn, 0, lambda: self._answer(turn, history))
                self._asking = self._work("responder", asking)
            case StopAsking():
                _end(self._asking)
            case Say():
                parts.mouth.say(action)
            case EndSpeech(speech):
                parts.mouth.end(speech)
            case CancelSpeech(speech):
                parts.mouth.cancel(speech)
            case _:
                self._tell(action)

    def _work(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(work, name=f"conversation {name}")

    async def _guarded(self, part: Part, turn: int, request: int, work: Callable[[], Awaitable[None]]) -> None:
        """A part that fails, however it does, is told: else the person would wait for ever."""
        try:
            await work()  # made here: a turn that is cancelled before it starts leaves no coroutine that nobody awaits
            return
        except (RecognitionError, ResponseError) as error:
            code, message = error.code, error.message
        except Exception:  # whatever a part of someone else's raises: it is logged, and the next turn may work
            logger.exception("the %s failed", part.value)
            code, message = f"{part.value}_failed", f"The {part.value} failed. Try again."
        await self.happened(lambda at_s: PartFailed(at_s, part, turn, code, message, request))

    async def _recognise(self, turn: int, request: int, sound: NDArray[np.int16]) -> None:
        text = await self._parts.recogniser.recognise(sound, self._language)
        await self.happened(lambda at_s: Recognised(at_s, turn, request, text))

    async def _judge(self, detector: TurnDetector, turn: int, request: int, sound: NDArray[np.int16]) -> None:
        try:
            is_finished = await detector.is_finished(sound)
        except Exception:  # whatever a part of someone else's raises: silence alone ends this turn
            logger.exception("the turn detector failed")
            return
        await self.happened(lambda at_s: PauseJudged(at_s, turn, request, is_finished))

    async def _answer(self, turn: int, history: tuple[Message, ...]) -> None:
        async with aclosing(self._parts.responder.answer(history, self._tools)) as pieces:
            async for piece in pieces:
                if isinstance(piece, TextPiece):
                    await self.happened(lambda at_s, text=piece.text: AnswerPiece(at_s, turn, text))  # type: ignore[misc]
                else:
                    self._tell(piece)
        await self.happened(lambda at_s: AnswerEnded(at_s, turn))


def _end(work: asyncio.Task[None] | None) -> None:
    if work is not None:
        work.cancel()
