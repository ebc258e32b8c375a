"""How a conversation is held on one channel: what the channel has of its own, else what the settings say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from pydantic import SecretStr

from conversation.realtime.connection import RealtimeProvider
from conversation.recognition.openai import TranscriptionProvider
from conversation.response.openai import ChatProvider
from conversation.turn.state import TurnRules
from orchestrator.setting_groups.conversation import (
    ConversationDefinition,
    ConversationSettings,
    RecogniserKind,
    ResponderKind,
)

T = TypeVar("T")

_PUSHED_PAUSE_S = 20.0  # who holds a button may think; the limit of an utterance is beyond it


@dataclass(frozen=True)
class ConversationPlan:
    """A conversation's parts, rules and limits; empty texts aren't said."""

    channel: str
    language: str
    voice: str | None
    responder: ChatProvider | RealtimeProvider | Literal["rules", "transformers"]
    recogniser: RecogniserKind
    transcription: TranscriptionProvider
    prompt: str
    greeting: str
    remarks: tuple[str, ...]
    remark_after_s: float
    rules: TurnRules
    limit_s: float
    unused_s: float
    speech_voice: str
    """Of a model that speaks by itself."""
    most_tokens: int

    def turn_rules(self, pushed: bool) -> TurnRules:
        """The rules of turns; where a button is `pushed` no pause ends one."""
        return replace(self.rules, over_s=_PUSHED_PAUSE_S) if pushed else self.rules


def planned(
    settings: ConversationSettings,
    own: ConversationDefinition | None,
    channel: str,
    voice: str | None,
    language: str,
) -> ConversationPlan:
    """The plan for a channel with this voice and language."""
    own = own or ConversationDefinition()
    kind = own.responder or settings.responder
    rules = TurnRules(
        over_s=_or(own.silence_s, settings.conversation_silence_s),
        most_turns=_or(own.turns, settings.conversation_turns),
        history_chars=_or(own.history_chars, settings.conversation_history_chars),
        filler=_or(own.filler, settings.conversation_filler),
        filler_after_s=_or(own.filler_after_s, settings.conversation_filler_after_s),
        apology=_or(own.apology, settings.conversation_apology),
        language=language,
    )
    return ConversationPlan(
        channel=channel,
        language=language,
        voice=voice,
        responder=_provider(settings, own, kind),
        recogniser=own.recogniser or settings.recogniser,
        transcription=TranscriptionProvider(
            settings.recogniser_url, settings.recogniser_model, _secret(settings.recogniser_key)
        ),
        prompt=_or(own.prompt, settings.conversation_prompt),
        greeting=_or(own.greeting, settings.conversation_greeting),
        remarks=_or(own.remarks, settings.conversation_remarks),
        remark_after_s=_or(own.remark_after_s, settings.conversation_remark_after_s),
        rules=rules,
        limit_s=_or(own.limit_s, settings.conversation_limit_s),
        unused_s=settings.conversation_unused_s,
        speech_voice=settings.responder_voice,
        most_tokens=own.tokens or settings.responder_tokens,
    )


def speaks_itself(settings: ConversationSettings, own: ConversationDefinition | None) -> bool:
    """Whether the responder needs neither a recogniser nor a synthesiser."""
    return ((own.responder if own is not None else None) or settings.responder) == "realtime"


def _provider(
    settings: ConversationSettings, own: ConversationDefinition, kind: ResponderKind
) -> ChatProvider | RealtimeProvider | Literal["rules", "transformers"]:
    if kind in ("rules", "transformers"):
        return kind
    url = own.url or settings.responder_url
    # The key of the settings goes to the address of the settings alone.
    key = settings.responder_key if own.key is None and url == settings.responder_url else own.key
    if kind == "realtime":
        # An http address becomes one of ws, and https one of wss.
        return RealtimeProvider(
            url.replace("http", "ws", 1),
            own.model or settings.responder_model,
            _secret(key),
            first_s=settings.responder_timeout_s,
        )
    return ChatProvider(
        url,
        own.model or settings.responder_model,
        _secret(key),
        most_tokens=own.tokens or settings.responder_tokens,
        first_s=settings.responder_timeout_s,
    )


def _secret(key: SecretStr | None) -> str | None:
    return None if key is None else key.get_secret_value() or None  # an empty one is none


def _or(own: T | None, default: T) -> T:
    return default if own is None else own
