"""Whose turn it is: each rule of the state machine, event by event."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import pytest

from conversation.message import Message, Role
from conversation.turn.actions import (
    Action,
    Ask,
    CancelSpeech,
    Commit,
    DropSound,
    EndSpeech,
    KeepSound,
    Recognise,
    Say,
    StopAsking,
    TellFault,
    TellHeard,
    TellState,
    TellTranscript,
)
from conversation.turn.events import (
    AnswerEnded,
    AnswerPiece,
    Event,
    LimitReached,
    Part,
    PartFailed,
    PauseJudged,
    PositionHeard,
    Recognised,
    Released,
    Remarked,
    SentencePlaced,
    SpeechEnd,
    SpeechOver,
    Tapped,
    TimePassed,
    Typed,
    VoiceBegan,
    VoiceEnded,
)
from conversation.turn.machine import TurnMachine
from conversation.turn.state import TurnRules, TurnState
from conversation.turn.words import has_words, heard_words

RULES = TurnRules()
Kind = TypeVar("Kind")


def told(machine: TurnMachine, *events: Event) -> list[Action]:
    return [action for event in events for action in machine.take(event)]


def those(kind: type[Kind], actions: list[Action]) -> list[Kind]:
    return [action for action in actions if isinstance(action, kind)]


def asked(rules: TurnRules = RULES) -> TurnMachine:
    """At 1.0 s the person has said "what time is it" as turn 1, and the responder was asked."""
    machine = TurnMachine(rules)
    told(machine, VoiceBegan(0.1, 0.1), VoiceEnded(0.5, 0.5), TimePassed(0.7), Recognised(0.8, 1, 1, "what time is it"))
    told(machine, TimePassed(1.0))
    assert machine.state is TurnState.THINKING
    return machine


def speaking(rules: TurnRules = RULES) -> TurnMachine:
    """From 1.2 s on, "It is noon. Lunch is ready." is said in speech 1, from 0 to 1 s and from 1.5 to 2.5 s of it."""
    machine = asked(rules)
    told(machine, AnswerPiece(1.2, 1, "It is noon. Lunch is ready."), AnswerEnded(1.2, 1))
    told(machine, SentencePlaced(1.2, 1, 0, 0.0, 1.0), SentencePlaced(1.2, 1, 1, 1.5, 2.5))
    assert machine.state is TurnState.SPEAKING
    return machine


def test_turn_ends_half_a_second_after_the_voice_and_is_recognised_before() -> None:
    machine = TurnMachine(RULES)
    assert told(machine, VoiceBegan(0.05, 0.05)) == [] and machine.due_s == pytest.approx(0.1)
    assert told(machine, TimePassed(0.1)) == [KeepSound(1), TellState(TurnState.HEARING)]
    assert told(machine, VoiceEnded(1.1, 1.0, 0.1)) == [] and machine.due_s == pytest.approx(1.2)
    assert told(machine, TimePassed(1.2)) == [Recognise(1, 1)]
    assert told(machine, Recognised(1.3, 1, 1, " Hello. ")) == [TellTranscript(1, "Hello.", False)]
    assert told(machine, TimePassed(1.49)) == [] and machine.due_s == pytest.approx(1.5)
    person = Message(Role.PERSON, "Hello.")
    assert told(machine, TimePassed(1.5)) == [
        DropSound(1),
        TellTranscript(1, "Hello.", True),
        Commit(1, "Hello."),
        Ask(1, (person,)),
        TellState(TurnState.THINKING),
    ]


def test_remark_is_said_where_nothing_goes_on_and_remembered_as_far_as_it_was_heard() -> None:
    machine = TurnMachine(RULES)
    assert those(Say, told(machine, Remarked(0.1, "Good day. Ask me."))) == [
        Say(1, 1, 0, "Good day.", 0.35),
        Say(1, 1, 1, "Ask me.", 0.35),
    ]
    told(machine, SentencePlaced(0.2, 1, 0, 0.0, 1.0), Tapped(1.4))
    over = told(machine, SpeechOver(1.5, 1, 1.0, SpeechEnd.INTERRUPTED))
    assert those(TellHeard, over) == [TellHeard(1, "Good day.")] and those(Commit, over) == []
    assert machine.history == [Message(Role.AVATAR, "Good day.")] and machine.state is TurnState.LISTENING
    assert those(Commit, told(machine, Typed(2.0, "Hello."))) == [Commit(2, "Hello.")]


def test_remark_is_not_said_into_a_turn_or_an_answer() -> None:
    for machine in (speaking(), asked()):
        assert told(machine, Remarked(1.3, "Ask me.")) == []
    machine = TurnMachine(RULES)
    told(machine, VoiceBegan(0.2, 0.2))
    assert told(machine, Remarked(0.3, "Ask me.")) == []


def test_pause_within_a_turn_makes_what_was_recognised_out_of_date() -> None:
    machine = TurnMachine(RULES)
    told(machine, VoiceBegan(0.1, 0.1), VoiceEnded(0.5, 0.5), TimePassed(0.7), VoiceBegan(0.8))
    assert told(machine, Recognised(0.9, 1, 1, "what")) == []
    assert those(Recognise, told(machine, VoiceEnded(1.5, 0.7), TimePassed(1.7))) == [Recognise(1, 2)]
    assert those(Commit, told(machine, Recognised(1.8, 1, 2, "what time"), TimePassed(2.0))) == [Commit(1, "what time")]


def test_voice_that_goes_on_while_the_words_are_awaited_belongs_to_the_same_turn() -> None:
    machine = TurnMachine(RULES)
    told(machine, VoiceBegan(0.1, 0.1), VoiceEnded(0.5, 0.5), TimePassed(0.7), TimePassed(1.0))
    assert machine.state == "thinking"
    told(machine, VoiceBegan(1.1, 0.1), Recognised(1.2, 1, 1, "one"))
    assert machine.state == "hearing"
    actions = told(machine, VoiceEnded(2.0, 1.0), TimePassed(2.5), Recognised(2.6, 1, 2, "one two"))
    assert those(Commit, actions) == [Commit(1, "one two")]


@pytest.mark.parametrize("text", ["", " ... ", "[BLANK_AUDIO]", "(coughs)", "*sighs*", "♪ la la ♪"])
def test_sound_without_words_is_no_turn(text: str) -> None:
    machine = TurnMachine(RULES)
    told(machine, VoiceBegan(0.1, 0.1), VoiceEnded(0.5, 0.5), TimePassed(0.7), Recognised(0.8, 1, 1, text))
    assert told(machine, TimePassed(1.0)) == [DropSound(1), TellState(TurnState.LISTENING)]
    assert not machine.history and not has_words(text)


def test_click_is_no_voice() -> None:
    machine = TurnMachine(RULES)
    assert told(machine, VoiceBegan(0.05, 0.05), VoiceEnded(0.09, 0.09), TimePassed(2.0)) == []


def test_utterance_without_end_is_cut_at_its_limit_and_goes_on_as_the_next_turn() -> None:
    machine = TurnMachine(replace(RULES, longest_utterance_s=3.0))
    told(machine, VoiceBegan(0.1, 0.1))
    assert those(Recognise, told(machine, TimePassed(3.0))) == [Recognise(1, 1)]
    actions = told(machine, Recognised(3.1, 1, 1, "on and on"), TimePassed(3.2))
    assert those(Commit, actions) == [Commit(1, "on and on")] and those(KeepSound, actions) == [KeepSound(2)]


def test_release_ends_the_turn_at_once() -> None:
    machine = TurnMachine(RULES)
    told(machine, VoiceBegan(0.1, 0.1), VoiceEnded(0.5, 0.5))
    assert those(Recognise, told(machine, Released(0.51))) == [Recognise(1, 1)]
    assert those(Commit, told(machine, Recognised(0.6, 1, 1, "hello"))) == [Commit(1, "hello")]


def test_first_sentence_is_said_while_the_rest_is_thought() -> None:
    machine = asked()
    assert told(machine, AnswerPiece(1.1, 1, "It is ")) == []
    actions = told(machine, AnswerPiece(1.2, 1, "noon. Lunch"))
    assert [(say.speech, say.index, say.text) for say in those(Say, actions)] == [(1, 0, "It is noon.")]
    assert machine.state is TurnState.SPEAKING and not those(EndSpeech, actions)
    actions = told(machine, AnswerPiece(1.3, 1, " is ready."), AnswerEnded(1.4, 1))
    assert [(say.speech, say.index, say.text) for say in those(Say, actions)] == [(1, 1, "Lunch is ready.")]
    assert those(EndSpeech, actions) == [EndSpeech(1)]


def test_sentence_that_is_followed_by_nothing_settles() -> None:
    machine = asked()
    assert not those(Say, told(machine, AnswerPiece(1.2, 1, "It is noon.")))
    assert machine.due_s == pytest.approx(1.8)
    assert [say.text for say in those(Say, told(machine, TimePassed(1.8)))] == ["It is noon."]


def test_answer_that_was_played_is_in_the_history() -> None:
    machine = speaking()
    actions = told(machine, SpeechOver(4.0, 1, 2.5, SpeechEnd.COMPLETED))
    assert actions == [TellHeard(1, "It is noon. Lunch is ready."), TellState(TurnState.LISTENING)]
    assert machine.history[-1] == Message(Role.AVATAR, "It is noon. Lunch is ready.")


def test_voice_lets_the_answer_fall_silent_and_its_words_end_it_where_it_was_heard() -> None:
    machine = speaking()
    assert told(machine, VoiceBegan(3.05, 0.05)) == []
    assert told(machine, TimePassed(3.1)) == [
        KeepSound(2),
        CancelSpeech(1),
        TellState(TurnState.INTERRUPTED),
    ]
    told(machine, SpeechOver(3.2, 1, 1.9, SpeechEnd.INTERRUPTED), VoiceEnded(3.5, 0.5), TimePassed(3.75))
    actions = told(machine, Recognised(3.8, 2, 1, "stop"), TimePassed(4.0))
    assert those(TellHeard, actions) == [TellHeard(1, "It is noon. Lunch")]
    assert those(Ask, actions)[0].history == (
        Message(Role.PERSON, "what time is it"),
        Message(Role.AVATAR, "It is noon. Lunch"),
        Message(Role.PERSON, "stop"),
    )


def test_history_waits_for_what_was_heard_but_not_for_ever() -> None:
    machine = speaking()
    told(machine, PositionHeard(2.8, 1, 1.0), VoiceBegan(3.0, 0.1), VoiceEnded(3.2, 0.3), TimePassed(3.45))
    assert not those(Commit, told(machine, Recognised(3.5, 2, 1, "stop"), TimePassed(3.75)))
    assert machine.state is TurnState.THINKING
    actions = told(machine, TimePassed(5.0))
    assert those(TellHeard, actions) == [TellHeard(1, "It is noon.")] and those(Commit, actions) == [Commit(2, "stop")]
    assert told(machine, SpeechOver(5.1, 1, 2.0, SpeechEnd.INTERRUPTED)) == []


def test_false_alarm_lets_the_answer_go_on_with_the_next_word() -> None:
    machine = speaking()
    told(machine, VoiceBegan(3.0, 0.1), SpeechOver(3.2, 1, 1.9, SpeechEnd.INTERRUPTED), VoiceEnded(3.2, 0.3))
    told(machine, TimePassed(3.45))
    actions = told(machine, Recognised(3.5, 2, 1, "(coughs)"), TimePassed(3.75))
    assert [(say.speech, say.text) for say in those(Say, actions)] == [(2, "is ready.")]
    assert machine.state is TurnState.SPEAKING
    actions = told(machine, SpeechOver(5.0, 2, 0.9, SpeechEnd.COMPLETED))
    assert those(TellHeard, actions) == [TellHeard(1, "It is noon. Lunch is ready.")]


def test_false_alarm_before_the_first_sentence_holds_it_back() -> None:
    machine = asked()
    told(machine, VoiceBegan(1.2, 0.1))
    actions = told(machine, AnswerPiece(1.3, 1, "It is noon. "), AnswerEnded(1.3, 1), VoiceEnded(1.4, 0.3))
    actions += told(machine, TimePassed(1.6))
    assert not those(Say, actions) and machine.state is TurnState.INTERRUPTED
    assert [say.text for say in those(Say, told(machine, Recognised(1.7, 2, 1, ""), TimePassed(1.9)))] == [
        "It is noon."
    ]


def test_words_while_it_thinks_end_the_thought_and_are_one_message_with_the_question() -> None:
    machine = asked()
    told(machine, VoiceBegan(1.2, 0.1), VoiceEnded(1.4, 0.3), TimePassed(1.6))
    actions = told(machine, Recognised(1.7, 2, 1, "in Rome"), TimePassed(1.9))
    assert those(StopAsking, actions) == [StopAsking(1)] and those(TellHeard, actions) == [TellHeard(1, "")]
    assert those(Ask, actions) == [Ask(2, (Message(Role.PERSON, "what time is it in Rome"),))]
    assert told(machine, AnswerPiece(2.0, 1, "It is noon. Yes."), AnswerEnded(2.0, 1)) == []


def test_tap_ends_the_answer_without_a_word() -> None:
    machine = speaking()
    assert those(CancelSpeech, told(machine, Tapped(2.5))) == [CancelSpeech(1)]
    actions = told(machine, SpeechOver(2.6, 1, 1.2, SpeechEnd.INTERRUPTED))
    assert actions == [TellHeard(1, "It is noon."), TellState(TurnState.LISTENING)]


def test_typed_text_is_a_turn_and_interrupts() -> None:
    machine = speaking()
    assert those(CancelSpeech, told(machine, Typed(2.0, " And tomorrow? "))) == [CancelSpeech(1)]
    actions = told(machine, SpeechOver(2.1, 1, 0.1, SpeechEnd.INTERRUPTED))
    assert those(Commit, actions) == [Commit(2, "And tomorrow?")] and those(TellHeard, actions) == [TellHeard(1, "")]
    assert told(machine, Typed(2.2, "  ")) == []


def test_recogniser_that_fails_is_asked_once_more_and_then_told() -> None:
    machine = TurnMachine(RULES)
    told(machine, VoiceBegan(0.1, 0.1), VoiceEnded(0.5, 0.5), TimePassed(0.7))
    assert told(machine, PartFailed(0.8, Part.RECOGNISER, 1, "away", "gone", 1)) == []
    assert those(Recognise, told(machine, TimePassed(1.0))) == [Recognise(1, 2)]
    actions = told(machine, PartFailed(1.1, Part.RECOGNISER, 1, "away", "gone", 2))
    assert those(TellFault, actions) == [TellFault("away", "gone")] and machine.state is TurnState.LISTENING


def test_responder_that_fails_is_told_and_what_it_said_is_said() -> None:
    machine = asked(replace(RULES, apology="Sorry."))
    actions = told(machine, AnswerPiece(1.1, 1, "It is"), PartFailed(1.2, Part.RESPONDER, 1, "broken_off", "cut"))
    assert [say.text for say in those(Say, actions)] == ["It is"]
    assert those(TellFault, actions) == [TellFault("broken_off", "cut")]


def test_responder_that_says_nothing_leaves_an_apology_or_nothing() -> None:
    machine = asked(replace(RULES, apology="Sorry."))
    assert [say.text for say in those(Say, told(machine, PartFailed(1.2, Part.RESPONDER, 1, "a", "b")))] == ["Sorry."]
    for event in (PartFailed(1.2, Part.RESPONDER, 1, "a", "b"), AnswerEnded(1.2, 1)):
        machine = asked()
        assert those(TellHeard, told(machine, event)) == [TellHeard(1, "")]
        assert machine.state is TurnState.LISTENING


def test_slow_answer_is_filled_once() -> None:
    machine = asked(replace(RULES, filler="One moment."))
    assert machine.due_s == pytest.approx(4.0)
    assert [say.text for say in those(Say, told(machine, TimePassed(4.0)))] == ["One moment."]
    assert not those(Say, told(machine, TimePassed(9.0)))
    actions = told(machine, AnswerPiece(10.0, 1, "Noon."), AnswerEnded(10.0, 1))
    assert [(say.speech, say.index, say.text) for say in those(Say, actions)] == [(1, 1, "Noon.")]


def test_endless_answer_is_cut() -> None:
    machine = asked(replace(RULES, longest_answer_chars=20))
    actions = told(machine, AnswerPiece(1.2, 1, "One two three. Four five six."))
    assert those(StopAsking, actions) and [fault.code for fault in those(TellFault, actions)] == ["answer_too_long"]
    assert [say.text for say in those(Say, actions)] == ["One two three.", "Four"]


def test_speech_that_fails_ends_its_answer() -> None:
    machine = speaking()
    actions = told(machine, SpeechOver(2.3, 1, 1.1, SpeechEnd.FAILED, "no faces"))
    assert those(TellFault, actions) == [TellFault("speech_failed", "no faces")]
    assert those(TellHeard, actions) == [TellHeard(1, "It is noon.")] and machine.state is TurnState.LISTENING


def test_limits_end_the_conversation() -> None:
    machine = speaking(replace(RULES, most_turns=1))
    actions = told(machine, SpeechOver(4.0, 1, 2.5, SpeechEnd.COMPLETED))
    assert [fault.code for fault in those(TellFault, actions)] == ["too_many_turns"] and machine.is_closed
    assert told(machine, Typed(5.0, "more"), VoiceBegan(6.0, 0.2), TimePassed(9.0)) == []

    machine = speaking()
    assert those(CancelSpeech, told(machine, LimitReached(2.0, "tokens", "used up"))) == [CancelSpeech(1)]
    actions = told(machine, SpeechOver(2.2, 1, 1.0, SpeechEnd.INTERRUPTED))
    assert actions == [TellHeard(1, "It is noon."), TellState(TurnState.LISTENING)]


def test_time_never_goes_back() -> None:
    machine = asked()
    with pytest.raises(ValueError, match=r"0\.9 s, the one before it of 1\.0 s"):
        machine.take(TimePassed(0.9))


@pytest.mark.parametrize(
    ("share", "heard"), [(0.0, ""), (0.4, "你"), (0.99, "你好，世"), (1.0, "你好，世界。")]
)  # fmt: skip
def test_chinese_is_cut_by_characters(share: float, heard: str) -> None:
    assert heard_words("你好，世界。", share) == (heard, "你好，世界。"[len(heard) :])


def test_rules_are_checked() -> None:
    with pytest.raises(ValueError, match="over_s"):
        TurnRules(ahead_s=0.6)
    with pytest.raises(ValueError, match="most_turns"):
        TurnRules(most_turns=0)


def test_turn_that_sounds_finished_ends_at_once_and_one_that_does_not_waits_longer() -> None:
    def at_pause() -> TurnMachine:
        machine = TurnMachine(RULES)
        told(machine, VoiceBegan(0.1, 0.1), VoiceEnded(0.5, 0.5), TimePassed(0.7), Recognised(0.72, 1, 1, "what time"))
        return machine

    finished = at_pause()
    assert those(Commit, told(finished, PauseJudged(0.75, 1, 1, True))) == [Commit(1, "what time")]
    unfinished = at_pause()
    told(unfinished, PauseJudged(0.75, 1, 1, False))
    assert unfinished.due_s == pytest.approx(0.5 + RULES.unfinished_s)
    assert those(Commit, told(unfinished, TimePassed(1.69))) == []
    assert those(Commit, told(unfinished, TimePassed(1.7))) == [Commit(1, "what time")]
    going_on = at_pause()
    told(going_on, VoiceBegan(0.74), PauseJudged(0.75, 1, 1, True))
    assert going_on.state is TurnState.HEARING, "the person spoke again before the detector's answer came"
    late = at_pause()
    told(late, TimePassed(1.0))
    assert told(late, PauseJudged(1.1, 1, 1, False)) == []
