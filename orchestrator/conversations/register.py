"""All conversations of a server: one a channel, and what was said in the last one, for whoever connects again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from conversation.message import Message
from conversation.turn.actions import TellState
from conversation.turn.state import TurnState
from orchestrator.clock import Clock
from orchestrator.conversations.channel_ear import ChannelEar
from orchestrator.conversations.local_parts import LocalParts
from orchestrator.conversations.parts import PartsStock, SessionParts
from orchestrator.conversations.plan import ConversationPlan
from orchestrator.conversations.session import ConversationSession, Manner, Tell
from orchestrator.conversations.session_events import Ending, Over, Ready, SessionEvent
from orchestrator.conversations.speaking import NewSpeech

MOST_KEPT = 200
"""Messages that are remembered of a conversation that is over."""


_ENDING_S = 4.0

logger = logging.getLogger(__name__)


ShowState = Callable[[str, str | None], None]
"""Told a channel, and the state of its conversation."""


class ConversationRunning(RuntimeError):
    """The channel holds a conversation already."""


@dataclass(frozen=True)
class _Kept:
    messages: tuple[Message, ...]
    until_s: float


class Place:
    """One channel's place for a conversation."""

    def __init__(self, channel: str, on_release: Callable[[Place], None]) -> None:
        self.channel = channel
        self.session: ConversationSession | None = None
        self.released = asyncio.Event()
        self._on_release = on_release

    def release_unused(self) -> None:
        """Give it back where no conversation began in it; else that does."""
        if self.session is None:
            self.release()

    def release(self) -> None:
        """Give it back; may be called twice."""
        if not self.released.is_set():
            self.released.set()
            self._on_release(self)


class Conversations:
    """Who talks on which channel."""

    def __init__(
        self,
        clock: Clock,
        kept_s: float,
        local: LocalParts,
        told: Callable[[str, SessionEvent], None] = lambda channel, event: None,
        show_state: ShowState = lambda channel, state: None,
        packet_socket: Callable[[str], Path | None] = lambda channel: None,
    ) -> None:
        """`told` is called with all that is told on any channel, before its client is.

        `show_state` is told what each channel's conversation is at, None once it is over. From its `packet_socket` it
        is known what a channel sends, which a microphone may hear.
        """
        self._packet_socket = packet_socket
        self._show_state = show_state
        self.stock = PartsStock(local)
        self._clock = clock
        self._kept_s = kept_s
        self._told = told
        self._places: dict[str, Place] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept: dict[str, _Kept] = {}
        self._stopping = False

    async def run(self) -> None:
        """Keep running what conversations share."""
        await self.stock.run()

    async def claim(self, channel: str) -> Place:
        """The channel's place for a conversation, which others are refused meanwhile; raises ConversationRunning.

        One that is ending just now is waited for: its client may be the one who connects again.
        """
        held = self._places.get(channel)
        if held is not None and held.session is not None and held.session.ending is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ENDING_S):
                    await held.released.wait()
        if channel in self._places:
            raise ConversationRunning(f"Channel {channel!r} holds a conversation already. Wait until it is over.")
        place = self._places[channel] = Place(channel, self._release)
        return place

    def begin(
        self, place: Place, plan: ConversationPlan, manner: Manner, new_speech: NewSpeech, tell: Tell
    ) -> ConversationSession:
        """A conversation in this place, which goes on where the last one ended, and gives the place back at its end.

        It is held until `end` is called, or it ends by itself: `ended` of it tells.
        """

        def told(event: SessionEvent | Over) -> None:
            if not isinstance(event, Over):
                self._told(plan.channel, event)
            if isinstance(event, Ready):
                self._show_state(plan.channel, TurnState.LISTENING)
            elif isinstance(event, TellState):
                self._show_state(plan.channel, event.state)
            elif isinstance(event, Over):
                self._show_state(plan.channel, None)
            tell(event)

        parts = self._with_ear(plan.channel, self.stock.parts(plan, manner.typed), manner)
        history = self.messages(plan.channel)
        session = ConversationSession(plan, manner, parts, new_speech, told, self._clock, history)
        place.session = session
        if self._stopping:
            session.end(Ending.STOPPING)
        task = asyncio.create_task(self._hold(place, session), name=f"conversation {plan.channel}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return session

    async def aclose(self) -> None:
        """End all of them, and wait for that."""
        self.stop()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _with_ear(self, channel: str, parts: SessionParts, manner: Manner) -> SessionParts:
        packet_socket = self._packet_socket(channel)
        if manner.typed or packet_socket is None:
            return parts
        return replace(parts, ear=ChannelEar(packet_socket, self._clock))

    async def _hold(self, place: Place, session: ConversationSession) -> None:
        try:
            await session.run()
        except Exception:  # of this conversation; others go on
            logger.exception("a conversation on channel %s", place.channel)
            session.end(Ending.FAILED)
        finally:
            session.ended.set()
            place.release()
            session.tell(Over(session.ending or Ending.FAILED))

    def _release(self, place: Place) -> None:
        session = place.session
        if session is not None and session.ending is not Ending.CHANNEL_GONE:
            self._keep(place.channel, session.messages)
        del self._places[place.channel]

    def is_running(self, channel: str) -> bool:
        """Whether someone talks there now."""
        return self._session(channel) is not None

    def messages(self, channel: str) -> tuple[Message, ...]:
        """What was said there, in the conversation that is held or in the last one."""
        if (session := self._session(channel)) is not None:
            return session.messages
        kept = self._kept.get(channel)
        if kept is None or self._clock() >= kept.until_s:
            self._kept.pop(channel, None)
            return ()
        return kept.messages

    def reset(self, channel: str) -> int:
        """Forget what was said there; one that is held begins again. Returns how many messages are forgotten."""
        forgotten = len(self.messages(channel))
        self._kept.pop(channel, None)
        if (session := self._session(channel)) is not None:
            session.reset()
        return forgotten

    def forget(self, channel: str) -> None:
        """The channel is there no more."""
        if (session := self._session(channel)) is not None:
            session.end(Ending.CHANNEL_GONE)
        self._kept.pop(channel, None)

    def stop(self) -> None:
        """The server stops: all of them end."""
        self._stopping = True
        for place in self._places.values():
            if place.session is not None:
                place.session.end(Ending.STOPPING)

    def _session(self, channel: str) -> ConversationSession | None:
        place = self._places.get(channel)
        return None if place is None else place.session

    def _keep(self, channel: str, messages: tuple[Message, ...]) -> None:
        if messages and self._kept_s:
            self._kept[channel] = _Kept(messages[-MOST_KEPT:], self._clock() + self._kept_s)
        else:
            self._kept.pop(channel, None)
