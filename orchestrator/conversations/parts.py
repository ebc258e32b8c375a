"""The parts that conversations are made of: all share an embedded recogniser, none shares a provider's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import anyio
import numpy as np
from numpy.typing import NDArray

from conversation.activity.detector import VoiceNetwork
from conversation.activity.turn_detector import TurnDetector
from conversation.realtime.connection import RealtimeProvider
from conversation.recognition.openai import OpenAiRecogniser
from conversation.recognition.recogniser import AWAY, Recogniser, RecognitionError
from conversation.recognition.whisper import LocalWhisper
from conversation.response.openai import ChatProvider, OpenAiResponder
from conversation.response.responder import Responder
from conversation.response.rules import RuleResponder
from orchestrator.background import keep_running
from orchestrator.conversations.channel_ear import ChannelEar
from orchestrator.conversations.local_parts import LocalParts, NoResponder
from orchestrator.conversations.plan import ConversationPlan


@dataclass(frozen=True)
class SessionParts:
    """What one conversation works with; those of its own run while it does."""

    network: Callable[[], VoiceNetwork]
    recogniser: Recogniser
    responder: Responder
    own: Sequence[Recogniser | Responder] = ()
    detector: TurnDetector | None = None
    realtime: RealtimeProvider | None = None
    """A model that replaces recogniser and responder, and the synthesiser."""
    ear: ChannelEar | None = None
    """Hears what the channel sends, where a microphone may hear it too."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs its own parts inside the block."""
        async with anyio.create_task_group() as group:
            for part in (*self.own, *([] if self.ear is None else [self.ear])):
                group.start_soon(keep_running, "a part of a conversation", part.run)
            yield
            group.cancel_scope.cancel()


class PartsStock:
    """Makes the parts of each conversation. An embedded recogniser is started by the first one that needs it."""

    def __init__(self, local: LocalParts) -> None:
        self._local = local
        self._whispers: dict[str, LocalWhisper] = {}
        self._shared: dict[str, Recogniser | Responder] = {}
        if local.responder is not None:  # it may take minutes to read, and is there because someone wants it
            self._shared["responder transformers"] = local.responder
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Keep running what is shared."""
        started: set[str] = set()
        async with anyio.create_task_group() as group:
            while True:
                for name in self._shared.keys() - started:
                    started.add(name)
                    group.start_soon(keep_running, f"the {name}", self._shared[name].run)
                self._wanted.clear()
                await self._wanted.wait()

    def parts(self, plan: ConversationPlan, typed: bool) -> SessionParts:
        """Those for a conversation of this plan, which hears nothing where it is `typed`."""
        if isinstance(plan.responder, RealtimeProvider):
            network = _Deaf if typed else _silero
            return SessionParts(network, _NoRecogniser(), NoResponder(), realtime=plan.responder)
        responder = self._responder(plan)
        own = () if responder is self._local.responder else (responder,)
        if typed or plan.recogniser == "none":
            return SessionParts(_Deaf, _NoRecogniser(), responder, own)
        detector = self._local.detector
        if plan.recogniser == "openai":
            recogniser = OpenAiRecogniser(plan.transcription)
            return SessionParts(_silero, recogniser, responder, (*own, recogniser), detector)
        return SessionParts(_silero, self._whisper(plan.recogniser), responder, own, detector)

    def _responder(self, plan: ConversationPlan) -> Responder:
        if isinstance(plan.responder, ChatProvider):
            return OpenAiResponder(plan.responder)
        if plan.responder == "rules":
            return RuleResponder(_now)
        return self._local.responder or NoResponder()

    def _whisper(self, name: str) -> LocalWhisper:
        if name not in self._whispers:
            self._whispers[name] = LocalWhisper(name)
            self._shared[f"recogniser {name}"] = self._whispers[name]
            self._wanted.set()
        return self._whispers[name]


class _Deaf:
    """A network that hears no voice."""

    def probability(self, frame: NDArray[np.int16]) -> float:
        return 0.0

    def reset(self) -> None:
        """It remembers nothing."""


class _NoRecogniser:
    """Of conversations that are typed."""

    async def recognise(self, sound: NDArray[np.int16], language: str) -> str:
        raise RecognitionError(AWAY, "This conversation recognises no speech. Type instead.")

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()


def _silero() -> VoiceNetwork:
    # Imported here: it brings onnxruntime, which only a server that is talked with needs.
    from conversation.activity.silero import SileroVad

    return SileroVad()


def _now() -> datetime:
    return datetime.now().astimezone()
