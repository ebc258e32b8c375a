"""Whose turn it is with a Realtime server: what happened in, what is to be done out. No clock, no I/O."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from conversation.message import Message, Role, trimmed
from conversation.realtime import server_events as server
from conversation.realtime.actions import Connected, Lost, Play, RealtimeAction, RealtimeEvent, Received, Send
from conversation.realtime.answer import RealtimeAnswer
from conversation.realtime.messages import CANCEL, CLEAR, COMMIT, Sent, Wish, ask, history_of, said, session
from conversation.realtime.transcripts import Transcripts
from conversation.response.responder import AWAY, BROKEN_OFF, GARBAGE
from conversation.sentences import SentenceCutter
from conversation.turn.actions import (
    Action,
    CancelSpeech,
    Commit,
    DropSound,
    EndSpeech,
    KeepSound,
    TellFault,
    TellHeard,
    TellSentence,
    TellState,
    TellTranscript,
)
from conversation.turn.ear import Ear
from conversation.turn.events import (
    LimitReached,
    PauseJudged,
    PositionHeard,
    Released,
    Remarked,
    SpeechEnd,
    SpeechOver,
    Tapped,
    Typed,
    VoiceBegan,
    VoiceEnded,
)
from conversation.turn.state import TurnRules, TurnState

# It ended by itself before our request came: nothing is wrong.
_HARMLESS = ("response_cancel_not_active",)
_NOT_HERE = "The speech model is not connected. Say it again later."

logger = logging.getLogger(__name__)


class RealtimeMachine:
    """The server hears whole turns, as we cut them, and answers with sound.

    A voice that lasts ends an answer for good: the model is told how much of it was heard, and what of its words that
    was stays in the history, which is told again to a server that forgot it. Each turn is closed by one TellHeard.
    """

    def __init__(
        self, rules: TurnRules, wish: Wish, history: Iterable[Message] = (), first_s: float = 10.0, next_s: float = 10.0
    ) -> None:
        """An answer must begin within `first_s`, and go on within `next_s` until the server says that it is over."""
        self.is_closed = False
        """A limit was reached: nothing further is answered."""
        self._rules = rules
        self._wish = wish
        self._first_s, self._next_s = first_s, next_s
        self._actions: list[RealtimeAction] = []
        self._heard: list[Action] = []  # the ear's actions, most of which are for a recogniser
        self._ear = Ear(rules, self._heard)
        self._said: list[tuple[Role, int, str]] = [(each.role, 0, each.text) for each in history]
        self._answer: RealtimeAnswer | None = None
        self._next: list[int] = []  # turns that wait until the answer before them is closed
        self._transcripts = Transcripts()
        self._remarks: dict[int, str] = {}
        self._greeting = ""  # what is to be said once the server is there
        self._turns = self._speeches = self._asked = 0
        self._is_connected = self._was_lost = False
        self._is_running = False  # the server makes an answer
        self._is_whole = False  # all of the utterance was sent
        self._now_s = float("-inf")
        self._told = TurnState.LISTENING

    @property
    def history(self) -> list[Message]:
        """What was said and heard. Words that are recognised late stand where they were said."""
        return [Message(role, text) for role, _, text in self._said if text]

    @property
    def turns(self) -> int:
        """How many there were by now."""
        return self._turns

    @property
    def state(self) -> TurnState:
        """What the conversation does."""
        answer = self._answer
        if self._ear.is_open:
            return TurnState.HEARING if answer is None else TurnState.INTERRUPTED
        if answer is None:
            return TurnState.LISTENING
        if self._next:
            return TurnState.THINKING
        if answer.is_dropped:
            return TurnState.INTERRUPTED
        return TurnState.THINKING if answer.speech is None else TurnState.SPEAKING

    @property
    def due_s(self) -> float | None:
        """When TimePassed is to be told, if nothing happens before."""
        due, answer = [self._ear.due_s], self._answer
        if answer is not None and answer.is_dropped and answer.speech is not None:
            due.append(answer.cancelled_s + self._rules.cancelled_s)
        elif answer is not None and answer.is_asking:
            due.append(answer.patient_until_s(self._first_s, self._next_s))
        return min((each for each in due if each is not None), default=None)

    def take(self, event: RealtimeEvent) -> tuple[RealtimeAction, ...]:
        """What is to be done now. Events of turns, answers and speeches that are over change nothing."""
        self._now_s = max(self._now_s, event.at_s)
        if not self.is_closed or not isinstance(event, VoiceBegan | VoiceEnded | Released | Typed | Remarked):
            self._note(event)
        if not self.is_closed and self._ear.time_passed(self._now_s, self._turns + 1):
            self._turns += 1
        self._time_passed()
        self._settle()
        taken = tuple(self._actions)
        self._actions.clear()
        return taken

    def _note(self, event: RealtimeEvent) -> None:
        match event:
            case VoiceBegan(at_s, lasted_s):
                self._ear.voice_began(at_s, lasted_s)
            case VoiceEnded(at_s, lasted_s, silent_s):
                self._turns += self._ear.voice_ended(at_s, lasted_s, silent_s, self._turns + 1)
            case PauseJudged(_, turn, request, is_finished):
                self._ear.judged(turn, request, is_finished)
            case Released():
                self._ear.end()
            case Typed(_, text):
                if text.strip():
                    self._typed(text.strip())
            case Remarked(_, text):
                self._remark(text)
            case LimitReached(_, code, message):
                self._limit(code, message)
            case Tapped():
                self._drop()
            case PositionHeard(_, speech, heard_s):
                if self._answer is not None and self._answer.speech == speech:
                    self._answer.position_s = max(self._answer.position_s, heard_s)
            case SpeechOver(_, speech, heard_s, end, message):
                if self._answer is not None and self._answer.speech == speech:
                    if end is SpeechEnd.FAILED:
                        self._fault("speech_failed", message or "The answer could not be said.")
                    self._speech_over(self._answer, heard_s, end)
            case Connected():
                self._connected()
            case Lost(_, code, message):
                self._lost(code, message)
            case Received(_, received):
                self._received(received)
            case _:
                pass  # of parts that a Realtime server replaces

    def _connected(self) -> None:
        self._is_connected, self._was_lost, self._is_running = True, False, False
        self._send(session(self._wish), *history_of(trimmed(self.history, self._rules.history_chars)))
        greeting, self._greeting = self._greeting, ""
        self._remark(greeting)

    def _lost(self, code: str, message: str) -> None:
        was_connected, self._was_lost = self._is_connected, True
        self._is_connected = self._is_running = self._is_whole = False
        self._transcripts.lost()
        answer = self._answer
        if answer is not None and answer.is_asking:
            self._fault(BROKEN_OFF if answer.speech is not None else code, message)
            self._no_more(answer)
        elif was_connected:
            logger.warning("the speech model: %s", message)

    def _received(self, event: Sent) -> None:
        try:
            told = server.read(event)
        except ValueError as error:
            logger.warning("the speech model sends an event that can't be read, %s: %.200s", error, event)
            self._fault(GARBAGE, "The speech model sends what can't be read.")
            return
        match told:
            case server.Committed(item):
                self._transcripts.named(item)
            case server.Understood(item, text, is_whole):
                self._understood(item, text, is_whole)
            case server.AnswerBegan(response, turn):
                self._began(response, turn)
            case server.Failed(code, message):
                self._failed(code, message)
            case None:
                pass  # the server tells much that needs nothing to be done
            case _:
                self._answered(told)

    def _understood(self, item: str, text: str, is_whole: bool) -> None:
        if not is_whole:
            if (words := self._transcripts.add(item, text)) is not None:
                self._actions.append(TellTranscript(*words, final=False))
            return
        turn = self._transcripts.close(item)
        if turn is None:
            return
        spoken = (Role.PERSON, turn, "")
        if spoken in self._said:
            self._said[self._said.index(spoken)] = (Role.PERSON, turn, text)
        self._actions += [TellTranscript(turn, text, final=True), Commit(turn, text)]

    def _began(self, response: str, turn: str | None) -> None:
        self._is_running = True
        answer = self._answer
        if answer is not None and answer.is_sent and answer.response is None and turn in (None, str(answer.turn)):
            answer.response = response

    def _answered(self, told: server.OfAnswer) -> None:
        if isinstance(told, server.AnswerOver):
            self._is_running = False
        answer = self._answer
        if answer is None or answer.response is None or told.response != answer.response or not answer.is_asking:
            return
        answer.latest_s = self._now_s
        match told:
            case server.AnswerSound(_, item, content, samples) if len(samples):
                if answer.speech is None:
                    self._speeches += 1
                    answer.speech = self._speeches
                answer.item(item, content).samples += len(samples)
                self._actions.append(Play(answer.turn, answer.speech, samples))
            case server.AnswerWords(_, item, content, text):
                answer.item(item, content).text += text
                for sentence in answer.cutter.push(text):
                    self._actions.append(TellSentence(answer.turn, sentence.text.strip()))
            case server.AnswerCall(_, call):
                self._actions.append(call)
            case server.AnswerOver(_, is_well, reason):
                if not is_well:
                    code = BROKEN_OFF if answer.speech is not None else AWAY
                    self._fault(code, f"The speech model did not finish its answer ({reason}). Ask again.")
                self._no_more(answer)

    def _failed(self, code: str | None, message: str) -> None:
        if code in _HARMLESS:
            self._is_running = False
            return
        logger.warning("the speech model: %s: %s", code, message)
        answer = self._answer
        if answer is not None and answer.is_asking and answer.speech is None:
            self._fault(AWAY, f"The speech model can't answer: {message}")
            self._no_more(answer)
        else:
            self._fault("speech_model_error", f"The speech model says: {message}")

    def _no_more(self, answer: RealtimeAnswer) -> None:
        """No further sound of it comes; what came is said."""
        answer.is_asking = False
        for sentence in answer.cutter.finish():
            self._actions.append(TellSentence(answer.turn, sentence.text.strip()))
        if answer.speech is not None and not answer.is_dropped:
            self._actions.append(EndSpeech(answer.speech))

    def _typed(self, text: str) -> None:
        self._turns += 1
        turn = self._turns
        self._actions += [TellTranscript(turn, text, final=True), Commit(turn, text)]
        self._said.append((Role.PERSON, turn, text))
        self._send(said(Message(Role.PERSON, text)))
        self._next.append(turn)

    def _remark(self, text: str) -> None:
        """The model is asked to say it, in its own voice."""
        if not self._is_connected and not self._said:
            self._greeting = text
        elif text and self._is_connected and self._answer is None and not self._next and not self._ear.is_open:
            self._turns += 1
            self._remarks[self._turns] = text
            self._next.append(self._turns)

    def _limit(self, code: str, message: str) -> None:
        self._fault(code, message)
        self.is_closed = True
        self._ear.voice_ended(self._now_s, 0.0, 0.0, 0)
        self._ear.close(self._now_s)
        self._heard.clear()
        self._actions += [TellHeard(each, "") for each in self._next]
        self._next.clear()
        self._drop()

    def _time_passed(self) -> None:
        answer, now_s = self._answer, self._now_s
        if answer is None:
            return
        if answer.is_dropped and answer.speech is not None and now_s >= answer.cancelled_s + self._rules.cancelled_s:
            self._speech_over(answer, answer.position_s, SpeechEnd.INTERRUPTED)
        elif (
            answer.is_asking and not answer.is_dropped and now_s >= answer.patient_until_s(self._first_s, self._next_s)
        ):
            begun = answer.speech is not None
            self._fault(BROKEN_OFF if begun else AWAY, "The speech model takes too long. Ask again.")
            self._stop_server(answer)
            self._no_more(answer)

    def _settle(self) -> None:
        self._utterance()
        answer = self._answer
        if answer is not None and (self._ear.is_open or self._next):
            self._drop()
        if answer is not None and answer.is_complete:
            self._close(answer)
        if self._answer is None and self._next and not self._ear.is_open:
            self._begin_answer()
        waiting = self._answer
        may_ask = self._is_connected and not self._is_running
        if waiting is not None and may_ask and not waiting.is_sent and waiting.is_asking and not waiting.is_dropped:
            waiting.is_sent = True
            self._send(ask(waiting.turn, self._remarks.pop(waiting.turn, "")))
        if self.state is not self._told:
            self._told = self.state
            self._actions.append(TellState(self._told))

    def _utterance(self) -> None:
        """What the ear wants: the beginning of an utterance is sent, and its end commits it."""
        if any(isinstance(action, KeepSound) for action in self._heard):
            self._is_whole = self._is_connected
            self._send(CLEAR)
            self._actions.append(KeepSound(self._ear.turn))
        self._heard.clear()
        if not self._ear.is_over:
            return
        turn = self._ear.turn
        self._ear.close(self._now_s)
        self._heard.clear()
        self._actions.append(DropSound(turn))
        if not self._is_whole:
            self._fault(AWAY, _NOT_HERE)
            return
        self._send(COMMIT)
        self._transcripts.sent(turn)
        self._said.append((Role.PERSON, turn, ""))
        self._next.append(turn)

    def _begin_answer(self) -> None:
        *passed_over, turn = self._next
        self._next.clear()
        self._actions += [TellHeard(each, "") for each in passed_over]
        if self._was_lost:  # at the beginning its connection is waited for
            self._fault(AWAY, _NOT_HERE)
            self._actions.append(TellHeard(turn, ""))
            return
        self._asked += turn not in self._remarks
        self._answer = RealtimeAnswer(turn, self._now_s, SentenceCutter(self._rules.language))

    def _drop(self) -> None:
        """The answer falls silent for good."""
        answer = self._answer
        if answer is None or answer.is_dropped:
            return
        answer.is_dropped, answer.cancelled_s = True, self._now_s
        self._stop_server(answer)
        answer.is_asking = False
        if answer.speech is not None:
            self._actions.append(CancelSpeech(answer.speech))

    def _stop_server(self, answer: RealtimeAnswer) -> None:
        if answer.is_asking and answer.is_sent:
            # Also where it hasn't told yet that it began: it will, and then that it ended.
            self._is_running = self._is_connected
            self._send(CANCEL)

    def _speech_over(self, answer: RealtimeAnswer, heard_s: float, end: SpeechEnd) -> None:
        unheard = answer.speech_over(heard_s, end)
        self._send(*unheard)
        if end is not SpeechEnd.COMPLETED and not answer.is_dropped:
            self._drop()  # nobody cancelled it: the channel can't say it

    def _close(self, answer: RealtimeAnswer) -> None:
        self._answer = None
        if answer.heard:
            self._said.append((Role.AVATAR, answer.turn, answer.heard))
        self._actions.append(TellHeard(answer.turn, answer.heard))
        if (most := self._rules.most_turns) <= self._asked and not self.is_closed:
            self._limit("too_many_turns", f"The conversation has its {most} turns. Begin another one.")

    def _send(self, *messages: Sent) -> None:
        if self._is_connected:
            self._actions += [Send(message) for message in messages]

    def _fault(self, code: str, message: str) -> None:
        self._actions.append(TellFault(code, message))
