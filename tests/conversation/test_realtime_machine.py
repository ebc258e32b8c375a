"""Whose turn it is with a Realtime server: what a real server can do at an awkward moment, event by event."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from conversation.realtime.actions import Connected, Lost, Play, RealtimeAction, RealtimeEvent, Received, Send
from conversation.realtime.machine import RealtimeMachine
from conversation.realtime.messages import Wish
from conversation.turn.actions import CancelSpeech, TellFault, TellHeard
from conversation.turn.events import LimitReached, Remarked, SpeechEnd, SpeechOver, Tapped, TimePassed, Typed
from conversation.turn.state import TurnRules, TurnState

SECOND = base64.b64encode(np.full(24_000, 1000, "<i2").tobytes()).decode()


def machine() -> RealtimeMachine:
    made = RealtimeMachine(TurnRules(), Wish())
    made.take(Connected(0.0))
    return made


def told(machine: RealtimeMachine, *events: RealtimeEvent) -> list[RealtimeAction]:
    return [action for event in events for action in machine.take(event)]


def sent(actions: list[RealtimeAction]) -> list[str]:
    return [action.message["type"] for action in actions if isinstance(action, Send)]


def created(at_s: float, response: str, turn: int | None) -> Received:
    metadata = None if turn is None else {"turn": str(turn)}
    return Received(at_s, {"type": "response.created", "response": {"id": response, "metadata": metadata}})


def of(at_s: float, response: str, kind: str, **fields: Any) -> Received:
    place = {"response_id": response, "item_id": f"item of {response}", "content_index": 0}
    return Received(at_s, {"type": f"response.{kind}", **place, **fields})


def sound(at_s: float, response: str) -> Received:
    return of(at_s, response, "output_audio.delta", delta=SECOND)


def done(at_s: float, response: str, status: str = "completed") -> Received:
    return Received(at_s, {"type": "response.done", "response": {"id": response, "status": status}})


def test_answer_that_was_cancelled_before_it_began_is_never_played() -> None:
    talk = machine()
    assert sent(told(talk, Typed(1.0, "One."))) == ["conversation.item.create", "response.create"]
    actions = told(talk, Typed(1.1, "Two."))
    assert sent(actions) == ["conversation.item.create", "response.cancel"], "it asks again once the first one is over"
    late = told(talk, created(1.2, "first", 1), sound(1.2, "first"))
    assert not [action for action in late if isinstance(action, Play)]
    assert sent(told(talk, done(1.3, "first", "cancelled"))) == ["response.create"]
    playing = told(talk, created(1.4, "second", 2), sound(1.5, "second"))
    assert [action.turn for action in playing if isinstance(action, Play)] == [2]


def test_cancel_that_comes_too_late_does_not_block_the_next_question() -> None:
    talk = machine()
    told(talk, Typed(1.0, "One."), created(1.1, "first", 1), Tapped(1.2))
    error = {"type": "error", "error": {"code": "response_cancel_not_active", "message": "none"}}
    actions = told(talk, Received(1.3, error), Typed(1.4, "Two."))
    assert "response.create" in sent(actions) and not [each for each in actions if isinstance(each, TellFault)]


def test_what_was_heard_of_two_items_is_cut_in_the_second_one() -> None:
    talk = machine()
    told(talk, Typed(1.0, "Tell."), created(1.1, "r", 1), sound(1.2, "r"))
    second = {"response_id": "r", "item_id": "second", "content_index": 0}
    told(
        talk,
        of(1.2, "r", "output_audio_transcript.delta", delta="First words here."),
        Received(1.3, {"type": "response.output_audio.delta", "delta": SECOND, **second}),
        Received(1.3, {"type": "response.output_audio_transcript.delta", "delta": "abcd efgh", **second}),
    )
    assert [type(each) for each in told(talk, Tapped(2.8)) if isinstance(each, CancelSpeech)] == [CancelSpeech]
    actions = told(talk, SpeechOver(2.9, 1, 1.6, SpeechEnd.INTERRUPTED))
    (cut,) = [each.message for each in actions if isinstance(each, Send) and "audio_end_ms" in each.message]
    assert (cut["item_id"], cut["audio_end_ms"]) == ("second", 600)
    assert [each.text for each in actions if isinstance(each, TellHeard)] == ["First words here. abcd"]


def test_answer_that_stops_coming_is_told_and_what_came_is_said() -> None:
    talk = machine()
    told(talk, Typed(1.0, "Tell."), created(1.1, "r", 1), sound(1.2, "r"))
    assert talk.due_s == 11.2
    actions = told(talk, TimePassed(11.2))
    assert [each.code for each in actions if isinstance(each, TellFault)] == ["answer_broken_off"]
    assert "response.cancel" in sent(actions) and [talk.state] == [TurnState.SPEAKING]
    told(talk, SpeechOver(11.3, 1, 1.0, SpeechEnd.COMPLETED))
    assert talk.state is TurnState.LISTENING


def test_lost_connection_ends_what_was_asked_and_is_quiet_where_nothing_was() -> None:
    talk = machine()
    quiet = told(talk, Lost(0.5, "responder_unavailable", "gone"), Connected(0.9))
    assert not [each for each in quiet if isinstance(each, TellFault)]
    told(talk, Typed(1.0, "Tell."))
    actions = told(talk, Lost(1.5, "responder_unavailable", "gone"))
    assert [each.code for each in actions if isinstance(each, TellFault)] == ["responder_unavailable"]
    assert talk.state is TurnState.LISTENING
    assert [message.text for message in talk.history] == ["Tell."]


def test_servers_that_repeat_no_metadata_are_understood_too() -> None:
    talk = machine()
    told(talk, Typed(1.0, "Tell."))
    actions = told(talk, created(1.1, "r", None), sound(1.2, "r"), done(1.3, "r"))
    assert [each.speech for each in actions if isinstance(each, Play)] == [1]


def test_event_that_can_not_be_read_is_told() -> None:
    talk = machine()
    told(talk, Typed(1.0, "Tell."), created(1.1, "r", 1))
    broken = of(1.2, "r", "output_audio.delta", delta="no base64!")
    assert [each.code for each in told(talk, broken) if isinstance(each, TellFault)] == ["answer_unreadable"]


def test_question_waits_for_the_first_connection_and_is_asked_once() -> None:
    talk = RealtimeMachine(TurnRules(), Wish())
    assert sent(told(talk, Typed(1.0, "One."))) == [] and talk.state is TurnState.THINKING
    assert sent(told(talk, Connected(1.5))) == ["session.update", "conversation.item.create", "response.create"]
    refused = told(RealtimeMachine(TurnRules(), Wish()), Typed(1.0, "One."), Lost(1.2, "responder_refused", "no"))
    assert [each.code for each in refused if isinstance(each, TellFault)] == ["responder_refused"]
    assert [each.text for each in refused if isinstance(each, TellHeard)] == [""]


def test_greeting_waits_for_the_first_connection_and_a_remark_for_nobody() -> None:
    talk = RealtimeMachine(TurnRules(), Wish())
    assert sent(told(talk, Remarked(0.1, "Good day."))) == []
    (ask,) = [each.message for each in told(talk, Connected(0.5)) if isinstance(each, Send)][1:]
    assert ask["response"]["instructions"].endswith("Good day.")
    assert sent(told(talk, Remarked(0.6, "Still here."))) == [], "it answers already"


def test_limit_ends_the_answer_and_takes_no_further_question() -> None:
    talk = machine()
    told(talk, Typed(1.0, "One."), created(1.1, "r", 1), sound(1.2, "r"))
    actions = told(talk, LimitReached(1.5, "conversation_too_long", "enough"))
    assert [each.code for each in actions if isinstance(each, TellFault)] == ["conversation_too_long"]
    assert [each for each in actions if isinstance(each, CancelSpeech)] and talk.is_closed
    told(talk, SpeechOver(1.6, 1, 0.4, SpeechEnd.INTERRUPTED))
    assert talk.state is TurnState.LISTENING and sent(told(talk, Typed(2.0, "Two."))) == []


def test_turns_are_counted_and_remarks_are_not() -> None:
    talk = RealtimeMachine(TurnRules(most_turns=1), Wish())
    told(talk, Connected(0.0), Remarked(0.1, "Hello."), created(0.2, "a", 1), sound(0.3, "a"), done(0.4, "a"))
    told(talk, SpeechOver(1.4, 1, 1.0, SpeechEnd.COMPLETED))
    assert not talk.is_closed
    told(talk, Typed(2.0, "One."), created(2.1, "b", 2), sound(2.2, "b"), done(2.3, "b"))
    last = told(talk, SpeechOver(3.3, 2, 1.0, SpeechEnd.COMPLETED))
    assert talk.is_closed and [each.code for each in last if isinstance(each, TellFault)] == ["too_many_turns"]
