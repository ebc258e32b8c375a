"""The turn's state machine: what happened in, what is to be done out. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from conversation.message import Message, Role, joined, trimmed
from conversation.turn.actions import Action, Ask, Commit, TellFault, TellHeard, TellState, TellTranscript
from conversation.turn.answer import Answer
from conversation.turn.ear import Ear
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
from conversation.turn.state import TurnRules, TurnState


class TurnMachine:
    """Who speaks, and what of it was said and heard.

    A voice that lasts lets an answer fall silent at once. If there are words in it, the answer is over, and what was
    heard of it goes into the history before the words that interrupted it; if not, the answer goes on with the first
    word that wasn't heard. Each turn is committed once, in order, and each committed one is closed by one TellHeard; so
    is each remark that the avatar makes by itself, which is a turn of its own.
    """

    def __init__(self, rules: TurnRules, history: Iterable[Message] = ()) -> None:
        """`history` is what came before, as a prompt; it is handed on with each question."""
        self.history = list(history)
        self.is_closed = False
        """A limit was reached: nothing further is answered."""
        self._rules = rules
        self._actions: list[Action] = []
        self._ear = Ear(rules, self._actions)
        self._answer: Answer | None = None
        self._decided: list[tuple[int, str]] = []  # turns that wait until the answer before them is closed
        self._turns = self._speeches = self._committed = 0
        self._now_s = float("-inf")
        self._told = TurnState.LISTENING

    @property
    def state(self) -> TurnState:
        """What the conversation does."""
        answer = self._answer
        if self._ear.is_open:
            if answer is not None:
                return TurnState.INTERRUPTED
            return TurnState.THINKING if self._ear.is_over else TurnState.HEARING
        if self._decided:
            return TurnState.THINKING
        if answer is None:
            return TurnState.LISTENING
        if answer.is_held or answer.is_dropped:
            return TurnState.INTERRUPTED
        return TurnState.THINKING if answer.speech is None else TurnState.SPEAKING

    @property
    def turns(self) -> int:
        """How many there were by now."""
        return self._turns

    @property
    def due_s(self) -> float | None:
        """When TimePassed is to be told, if nothing happens before."""
        due = [self._ear.due_s, self._answer.due_s if self._answer else None]
        return min((each for each in due if each is not None), default=None)

    def take(self, event: Event) -> tuple[Action, ...]:
        """What is to be done now. Raises ValueError for an event that is earlier than the one before it.

        Events of turns, requests and speeches that are over change nothing.
        """
        if event.at_s < self._now_s:
            raise ValueError(f"the event is of {event.at_s} s, the one before it of {self._now_s} s")
        self._now_s = event.at_s
        if not self.is_closed or isinstance(event, TimePassed | PositionHeard | SpeechOver):
            self._note(event)
        if not self.is_closed and self._ear.time_passed(event.at_s, self._turns + 1):
            self._turns += 1
        if self._answer is not None:
            self._answer.time_passed(event.at_s)
        self._settle()
        taken = tuple(self._actions)
        self._actions.clear()
        return taken

    def _note(self, event: Event) -> None:
        match event:
            case TimePassed():
                pass
            case VoiceBegan(at_s, lasted_s):
                self._ear.voice_began(at_s, lasted_s)
            case VoiceEnded(at_s, lasted_s, silent_s):
                self._turns += self._ear.voice_ended(at_s, lasted_s, silent_s, self._turns + 1)
            case Recognised(_, turn, request, text):
                self._ear.recognised(turn, request, text)
            case PauseJudged(_, turn, request, is_finished):
                self._ear.judged(turn, request, is_finished)
            case Released():
                self._ear.end()
            case Typed(_, text):
                if text.strip():
                    self._turns += 1
                    self._decided.append((self._turns, text.strip()))
            case Remarked(at_s, text):
                self._remark(at_s, text)
            case PartFailed():
                self._note_failure(event)
            case LimitReached(_, code, message):
                self._close(code, message)
            case _:
                self._note_answer(event)

    def _note_answer(self, event: Event) -> None:
        answer = self._answer
        if answer is None:
            return
        match event:
            case AnswerPiece(at_s, answer.turn, text):
                if not answer.add(at_s, text):
                    most = self._rules.longest_answer_chars
                    self._actions.append(TellFault("answer_too_long", f"The answer was cut after {most} characters."))
            case AnswerEnded(_, answer.turn):
                answer.end()
            case SentencePlaced(_, speech, index, start_s, end_s):
                answer.placed(speech, index, start_s, end_s)
            case PositionHeard(_, speech, heard_s):
                answer.played(speech, heard_s)
            case SpeechOver(_, answer.speech, heard_s, end, message):
                if end is SpeechEnd.FAILED:
                    self._actions.append(TellFault("speech_failed", message or "The answer could not be said."))
                answer.speech_over(event.speech, heard_s, end)
            case Tapped(at_s):
                answer.drop(at_s)

    def _note_failure(self, event: PartFailed) -> None:
        if event.part is Part.RECOGNISER:
            if self._ear.recognition_failed(event.turn, event.request):
                self._actions.append(TellFault(event.code, event.message))
        elif self._answer is not None and event.turn == self._answer.turn:
            self._actions.append(TellFault(event.code, event.message))
            self._answer.fail()

    def _remark(self, at_s: float, text: str) -> None:
        if text.strip() and self._answer is None and not self._decided and not self._ear.is_open:
            self._turns += 1
            self._answer = Answer(self._turns, at_s, self._rules, self._actions)
            self._answer.add(at_s, text)
            self._answer.end()

    def _settle(self) -> None:
        """Bring both sides together until nothing changes any more."""
        ear = self._ear
        if ear.words is not None:
            if ear.words:
                self._decided.append((ear.turn, ear.words))
            ear.close(self._now_s)
        answer = self._answer
        if answer is not None:
            if self._decided:
                answer.drop(self._now_s)
            elif ear.is_open and not answer.is_held:
                answer.hold(self._now_s)
            elif not ear.is_open and answer.is_held and answer.speech is None:
                answer.is_held = False
            self._say(answer)
            if answer.is_complete:
                self._close_answer(answer)
        if self._answer is None and self._decided:
            self._commit()
        if self.state is not self._told:
            self._told = self.state
            self._actions.append(TellState(self._told))

    def _say(self, answer: Answer) -> None:
        if answer.say(self._speeches + 1):
            self._speeches += 1

    def _commit(self) -> None:
        for turn, text in self._decided:
            self._actions += [TellTranscript(turn, text, final=True), Commit(turn, text)]
            self.history.append(Message(Role.PERSON, text))
        self._committed += len(self._decided)
        *passed_over, (turn, _) = self._decided
        self._actions += [TellHeard(each, "") for each, _ in passed_over]
        self._decided.clear()
        self._actions.append(Ask(turn, trimmed(joined(self.history), self._rules.history_chars)))
        self._answer = Answer(turn, self._now_s, self._rules, self._actions)
        if self._ear.is_open:  # what was typed while someone speaks
            self._answer.hold(self._now_s)

    def _close_answer(self, answer: Answer) -> None:
        self._answer = None
        if answer.heard:
            self.history.append(Message(Role.AVATAR, answer.heard))
        self._actions.append(TellHeard(answer.turn, answer.heard))
        if self._committed >= self._rules.most_turns and not self.is_closed:
            self._close(
                "too_many_turns", f"The conversation has its {self._rules.most_turns} turns. Begin another one."
            )

    def _close(self, code: str, message: str) -> None:
        self._actions.append(TellFault(code, message))
        self.is_closed = True
        self._ear.voice_ended(self._now_s, 0.0, 0.0, 0)
        self._ear.close(self._now_s)
        self._decided.clear()
        if self._answer is not None:
            self._answer.drop(self._now_s)
