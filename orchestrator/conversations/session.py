"""One conversation with one person on one channel: sound and text in, events out; it knows no connection."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conversation.activity.detector import VoiceNetwork
from conversation.dialogue import Dialogue, Parts
from conversation.message import Message, Role
from conversation.realtime.actions import RealtimeAction, RealtimeEvent
from conversation.realtime.dialogue import RealtimeDialogue, RealtimeParts
from conversation.realtime.messages import Wish
from conversation.response.responder import Tool, ToolCall
from conversation.turn.actions import (
    Action,
    Commit,
    TellFault,
    TellHeard,
    TellSentence,
    TellState,
    TellTranscript,
)
from conversation.turn.events import Event, LimitReached
from conversation.turn.state import TurnState
from orchestrator.clock import Clock
from orchestrator.conversations.echo_reference import EchoReference
from orchestrator.conversations.mouth import ChannelMouth
from orchestrator.conversations.parts import SessionParts
from orchestrator.conversations.plan import ConversationPlan
from orchestrator.conversations.session_events import Called, Ending, Over, Ready, SessionEvent, TurnPassed
from orchestrator.conversations.speaking import NewSpeech
from orchestrator.conversations.turn_passages import TurnPassages

_CLOSING_S = 3.0
_WATCHED_S = 0.25

logger = logging.getLogger(__name__)

Tell = Callable[[SessionEvent | Over], None]
Held = Dialogue | RealtimeDialogue


@dataclass(frozen=True)
class Manner:
    """How the client talks: by a button, by typing alone, and with tools of its own.

    Where nobody `greets`, the avatar says nothing by itself.
    """

    pushed: bool = False
    typed: bool = False
    greets: bool = True
    tools: Sequence[Tool] = ()


class ConversationSession:
    """Holds one dialogue after another, a new one at each reset; its methods are called on one event loop.

    `hear`, `release`, `interrupt` and `type` wait where the dialogue has too much to do, or is about to begin: what a
    client sends right behind its start counts. They are without effect once the conversation is over.
    """

    def __init__(
        self,
        plan: ConversationPlan,
        manner: Manner,
        parts: SessionParts,
        new_speech: NewSpeech,
        tell: Tell,
        clock: Clock,
        history: Sequence[Message] = (),
    ) -> None:
        self.plan = plan
        self.messages = tuple(history)
        """What was said, without the prompt; of the dialogue that is held up to its latest turn."""
        self._manner = manner
        self._parts = parts
        self._new_speech = new_speech
        self.tell = tell
        self._clock = clock
        self._dialogue: Held | None = None
        self._echo = EchoReference(clock)
        self._passages: TurnPassages | None = None
        self._turns_before = 0
        self._turn = 0
        self._ending: Ending | None = None
        self._stop = asyncio.Event()
        self._held = asyncio.Event()  # a dialogue is, or none will be any more
        self.ended = asyncio.Event()
        """Set when `run` is over."""
        self._began_s = self._active_s = self._changed_s = clock()
        self._remarks = 0
        self._forgets = False

    @property
    def ending(self) -> Ending | None:
        """Why the conversation ends, None while it is held."""
        return self._ending

    def end(self, ending: Ending) -> None:
        """Let `run` end; what is being said falls silent, and the first reason counts."""
        self._ending = self._ending or ending
        self._stop.set()

    async def run(self) -> Ending:
        """Hold the conversation to its end; returns why it ended."""
        try:
            async with self._parts.running():
                while self._ending is None:
                    self._stop.clear()
                    await self._hold()
            return self._ending
        finally:
            self._held.set()  # nobody waits for a dialogue any more

    async def hear(self, sound: NDArray[np.int16]) -> None:
        """The microphone's next samples, mono at 16 kHz."""
        await self._held.wait()
        if self._dialogue is not None:
            ear = self._parts.ear
            await self._dialogue.hear(sound, None if ear is None else self._echo.of(len(sound), ear.sounding))

    async def release(self) -> None:
        """The utterance is over."""
        await self._held.wait()
        if self._dialogue is not None:
            await self._dialogue.release()

    async def interrupt(self) -> None:
        """Fall silent."""
        await self._held.wait()
        if self._dialogue is not None:
            await self._dialogue.tap()

    async def type(self, text: str) -> None:
        """A turn that is text."""
        await self._held.wait()
        if self._dialogue is not None:
            await self._dialogue.type(text)

    async def remark(self, text: str) -> None:
        """Say something that nobody asked for, unless something else goes on."""
        if self._dialogue is not None:
            await self._dialogue.remark(text)

    def reset(self) -> None:
        """Forget what was said, and begin again."""
        self._forgets = True
        self._stop.set()

    async def _hold(self) -> None:
        """One dialogue, to the end of the conversation or to a reset."""
        plan, kept = self.plan, self.messages
        network = await asyncio.to_thread(self._parts.network)

        async def happened(event: Callable[[float], Event]) -> None:
            await dialogue.happened(event)

        passages = self._passages = TurnPassages(self._passed)
        mouth = ChannelMouth(self._new_speech, happened, passages.moved)
        dialogue = self._dialogue = self._new_dialogue(network, mouth, kept)
        running = asyncio.create_task(dialogue.run(), name="conversation dialogue")
        watching = asyncio.create_task(self._watch(dialogue), name="conversation watch")
        stopping = asyncio.create_task(self._stop.wait(), name="conversation stop")
        try:
            greeting = plan.greeting if self._manner.greets and not kept else ""
            self.tell(Ready(len(kept), greeting))
            self._held.set()
            if greeting:
                await dialogue.remark(greeting)
            await asyncio.wait({running, watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._note_failure(running, watching)
            await self._fall_silent(dialogue, mouth)
        finally:
            self._dialogue = None
            self._held.clear()
            tasks = (running, watching, stopping)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await mouth.abandon()
            self._turns_before += dialogue.machine.turns
            self.messages = () if self._forgets else _said(dialogue)
            self._forgets = False

    def _new_dialogue(self, network: VoiceNetwork, mouth: ChannelMouth, kept: tuple[Message, ...]) -> Held:
        plan, manner, parts = self.plan, self._manner, self._parts
        rules = plan.turn_rules(manner.pushed)
        if parts.realtime is not None:
            wish = Wish(
                plan.prompt,
                plan.speech_voice,
                plan.language,
                most_tokens=plan.most_tokens,
                tools=tuple(manner.tools),
            )
            realtime = RealtimeParts(network, parts.realtime, mouth)
            return RealtimeDialogue(realtime, rules, wish, self._told, self._clock, kept, self._saw)
        prompt = (Message(Role.SYSTEM, plan.prompt),) if plan.prompt else ()
        detector = None if manner.pushed else parts.detector  # who holds a button says when it is over
        return Dialogue(
            Parts(network, parts.recogniser, parts.responder, mouth, detector),
            rules,
            self._told,
            self._clock,
            (*prompt, *kept),
            manner.tools,
            self._saw,
        )

    async def _fall_silent(self, dialogue: Held, mouth: ChannelMouth) -> None:
        """End what is being said, and wait until it is known what of it was heard."""
        try:
            async with asyncio.timeout(_CLOSING_S):
                await dialogue.tap()
                await dialogue.settled()
                await mouth.aclose()
                await dialogue.settled()
        except TimeoutError:
            logger.warning("channel %s: the end of an answer is not known after %g s", self.plan.channel, _CLOSING_S)

    def _note_failure(self, *tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                logger.error("the conversation on channel %s failed", self.plan.channel, exc_info=error)
                self.end(Ending.FAILED)

    async def _watch(self, dialogue: Held) -> None:
        """Limits of time, and remarks where nobody speaks."""
        plan = self.plan
        while True:
            now_s = self._clock()
            if now_s - self._began_s >= plan.limit_s and not dialogue.machine.is_closed:
                message = f"The conversation has lasted for {plan.limit_s:g} s. Begin another one."
                await dialogue.happened(lambda at_s: LimitReached(at_s, "conversation_too_long", message))  # noqa: B023
            if now_s - self._active_s >= plan.unused_s:
                self.end(Ending.UNUSED)
            quiet_s = now_s - self._changed_s if dialogue.machine.state is TurnState.LISTENING else 0.0
            if plan.remarks and self._manner.greets and quiet_s >= plan.remark_after_s:
                await dialogue.remark(plan.remarks[self._remarks % len(plan.remarks)])
                self._remarks += 1
                self._changed_s = now_s
            await asyncio.sleep(_WATCHED_S)

    def _saw(self, event: RealtimeEvent, actions: Sequence[RealtimeAction]) -> None:
        if self._passages is not None:
            self._passages.saw(event, actions)
        machine = self._dialogue.machine if self._dialogue is not None else None
        if machine is not None and machine.is_closed and machine.state is TurnState.LISTENING:
            self.end(Ending.LIMIT)

    def _told(self, told: Action | ToolCall) -> None:
        match told:
            case Commit(turn):
                self._turn, self._active_s = turn, self._clock()
            case ToolCall():
                self.tell(Called(self._turn + self._turns_before, told))
            case TellState(state):
                self._changed_s = self._clock()
                if state is TurnState.HEARING:
                    self._active_s = self._changed_s
                self.tell(told)
            case TellTranscript() | TellSentence() | TellHeard():
                self.tell(dataclasses.replace(told, turn=told.turn + self._turns_before))
                if isinstance(told, TellHeard) and self._dialogue is not None and not self._forgets:
                    self.messages = _said(self._dialogue)
            case TellFault():
                self.tell(told)

    def _passed(self, turn: int, typed: bool, stages_s: dict[str, float]) -> None:
        self.tell(TurnPassed(turn + self._turns_before, typed, stages_s))


def _said(dialogue: Held) -> tuple[Message, ...]:
    return tuple(message for message in dialogue.machine.history if message.role is not Role.SYSTEM)
