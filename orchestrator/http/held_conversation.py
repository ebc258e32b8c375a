"""How routes hold conversations: the plan for a channel, its place, and events as messages."""

from __future__ import annotations

from http import HTTPStatus

from conversation.synthesis.synthesiser import voice_of
from conversation.turn.actions import TellFault, TellHeard, TellSentence, TellState, TellTranscript
from orchestrator.conversations.plan import ConversationPlan, planned, speaks_itself
from orchestrator.conversations.register import ConversationRunning, Place
from orchestrator.conversations.session_events import Called, Ready, SessionEvent, TurnPassed
from orchestrator.conversations.speaking import NewSpeech
from orchestrator.http import conversation_messages as messages
from orchestrator.http.answer_speech import AnswerSpeech
from orchestrator.http.errors import ApiError
from orchestrator.http.task_routes import require_ready, unknown_channel
from orchestrator.http.text_source import no_synthesiser
from orchestrator.orchestrator import Orchestrator


def plan_of(orchestrator: Orchestrator, channel_id: str) -> ConversationPlan:
    """How a conversation is held on the channel now; raises ApiError where it can't be."""
    require_ready(orchestrator)
    channel = orchestrator.channels.get(channel_id)
    if channel is None:
        raise unknown_channel(channel_id, orchestrator)
    definition = channel.definition
    if speaks_itself(orchestrator.settings, definition.conversation):
        return planned(orchestrator.settings, definition.conversation, channel_id, None, definition.language or "")
    if orchestrator.synthesiser is None:
        raise no_synthesiser()
    voice = voice_of(orchestrator.synthesiser, definition.voice)
    language = definition.language or voice.language or "en"
    return planned(orchestrator.settings, definition.conversation, channel_id, voice.name, language)


async def claimed(orchestrator: Orchestrator, channel_id: str) -> Place:
    """The channel's place for a conversation; raises ApiError (409) where it is taken."""
    try:
        return await orchestrator.conversations.claim(channel_id)
    except ConversationRunning as error:
        raise ApiError(HTTPStatus.CONFLICT, "conversation_running", str(error)) from None


def new_speech(orchestrator: Orchestrator, channel_id: str) -> NewSpeech:
    """What says the answers on the channel."""
    return lambda: AnswerSpeech(orchestrator, channel_id)


def message_of(event: SessionEvent, plan: ConversationPlan) -> messages.ServerMessage:
    """What a client is told of an event."""
    match event:
        case Ready(count, greeting):
            return messages.Ready(
                channel=plan.channel,
                language=plan.language,
                voice=plan.voice,
                greeting=greeting or None,
                messages=count,
            )
        case TellState(state):
            return messages.State(state=state)
        case TellTranscript(turn, text, final):
            return messages.Transcript(turn=turn, text=text, final=final)
        case TellSentence(turn, text):
            return messages.Sentence(turn=turn, text=text)
        case TellHeard(turn, text):
            return messages.Heard(turn=turn, text=text)
        case Called(turn, call):
            return messages.ToolCall(turn=turn, id=call.id, name=call.name, arguments=call.arguments)
        case TurnPassed(turn, _, stages_s):
            stages = {name: round(1000 * seconds, 1) for name, seconds in stages_s.items()}
            return messages.Ledger(turn=turn, stages=stages)
        case TellFault(code, message):
            return messages.ErrorMessage(code=code, message=message)
