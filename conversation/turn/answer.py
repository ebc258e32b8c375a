"""The avatar's side of a turn: pieces become sentences, sentences speeches, and of these it keeps what was heard."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from conversation.sentences import SETTLED_S, Sentence, SentenceCutter
from conversation.synthesis.holding import expected_s
from conversation.turn.actions import Action, CancelSpeech, EndSpeech, Say, StopAsking, TellSentence
from conversation.turn.events import SpeechEnd
from conversation.turn.state import TurnRules
from conversation.turn.words import heard_words


@dataclass
class _Said:
    """A sentence of the current speech, and where in its sound it lies once that is known."""

    sentence: Sentence
    start_s: float | None = None
    end_s: float | None = None


class Answer:
    """The answer to one turn. It is said in one speech, and in another one for the rest where a false alarm cut it.

    Each method appends its actions to the list that it was made with.
    """

    def __init__(self, turn: int, at_s: float, rules: TurnRules, actions: list[Action]) -> None:
        self.turn = turn
        self.speech: int | None = None
        """The speech that isn't over."""
        self.is_held = False
        """Nothing is said for now; what comes is kept."""
        self.is_dropped = False
        """Nothing is said any more."""
        self._rules = rules
        self._actions = actions
        self._cutter = SentenceCutter(rules.language)
        self._chars = 0
        self._asked_s = at_s
        self._piece_s: float | None = None  # of the latest piece that hasn't settled
        self._is_asking = True
        self._waiting: deque[Sentence] = deque()
        self._said: list[_Said] = []
        self._sentences = 0
        self._is_ended = False  # the speech was told that no sentence follows
        self._is_cancelled = False
        self._cancelled_s = 0.0
        self._position_s = 0.0
        self._heard = ""

    @property
    def heard(self) -> str:
        """What was heard of it in speeches that are over."""
        return self._heard.strip()

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.speech is None and (self.is_dropped or not (self._is_asking or self._waiting or self.is_held))

    @property
    def due_s(self) -> float | None:
        """When time alone changes something."""
        due = []
        if self._piece_s is not None:
            due.append(self._piece_s + SETTLED_S)
        if self.speech is not None and self._is_cancelled:
            due.append(self._cancelled_s + self._rules.cancelled_s)
        if self._may_fill:
            due.append(self._asked_s + self._rules.filler_after_s)
        return min(due, default=None)

    @property
    def _may_fill(self) -> bool:
        return bool(self._rules.filler) and self._is_asking and not (self._sentences or self._chars or self.is_held)

    def add(self, at_s: float, piece: str) -> bool:
        """The next piece; returns False where the answer is too long by it, which ends it."""
        if not self._is_asking:
            return True
        room = self._rules.longest_answer_chars - self._chars
        self._chars += len(piece)
        self._waiting.extend(self._cutter.push(piece[:room]))
        self._piece_s = at_s
        if len(piece) <= room:
            return True
        self.stop_asking()
        return False

    def end(self) -> None:
        """No further piece comes."""
        if self._is_asking:
            self._is_asking, self._piece_s = False, None
            self._waiting.extend(self._cutter.finish())

    def fail(self) -> None:
        """No further piece comes, as something failed; what came is said."""
        self.end()
        if self._rules.apology and not self._sentences and not self._waiting:
            self._waiting.append(Sentence(self._rules.apology, 0.0))

    def stop_asking(self) -> None:
        """No further piece is wanted."""
        if self._is_asking:
            self._actions.append(StopAsking(self.turn))
            self.end()

    def time_passed(self, at_s: float) -> None:
        """A sentence settles, a filler is due, or the end of a cancelled speech is not waited for any longer."""
        if self._piece_s is not None and at_s >= self._piece_s + SETTLED_S:
            self._piece_s = None
            self._waiting.extend(self._cutter.settle())
        if self._may_fill and at_s >= self._asked_s + self._rules.filler_after_s:
            self._waiting.append(Sentence(self._rules.filler, 0.35))
        if self.speech is not None and self._is_cancelled and at_s >= self._cancelled_s + self._rules.cancelled_s:
            self.speech_over(self.speech, self._position_s, SpeechEnd.INTERRUPTED)

    def hold(self, at_s: float) -> None:
        """Fall silent; it may go on later."""
        self.is_held = True
        self._cancel(at_s)

    def drop(self, at_s: float) -> None:
        """Fall silent for good."""
        if not self.is_dropped:
            self.is_dropped = True
            self.stop_asking()
            self._waiting.clear()
            self._cancel(at_s)

    def say(self, next_speech: int) -> bool:
        """Hand over what is certain, unless it is held; returns whether `next_speech` began."""
        if self.is_held or self.is_dropped or self._is_cancelled:
            return False
        began = False
        while self._waiting:
            sentence = self._waiting.popleft()
            if self.speech is None:
                self.speech, began = next_speech, True
                self._said, self._is_ended, self._position_s = [], False, 0.0
            self._actions.append(TellSentence(self.turn, sentence.text.strip()))
            self._actions.append(
                Say(self.turn, self.speech, len(self._said), sentence.text.strip(), sentence.pause_s)
            )  # fmt: skip
            self._said.append(_Said(sentence))
            self._sentences += 1
        if self.speech is not None and not self._is_asking and not self._is_ended:
            self._is_ended = True
            self._actions.append(EndSpeech(self.speech))
        return began

    def placed(self, speech: int, index: int, start_s: float, end_s: float) -> None:
        """Where a sentence lies in its speech."""
        if speech == self.speech and 0 <= index < len(self._said):
            self._said[index].start_s, self._said[index].end_s = start_s, end_s

    def played(self, speech: int, heard_s: float) -> None:
        """How far the speech was heard."""
        if speech == self.speech:
            self._position_s = max(self._position_s, heard_s)

    def speech_over(self, speech: int, heard_s: float, end: SpeechEnd) -> None:
        """The speech ended, `heard_s` of it were heard. The rest waits, if the answer was only held."""
        if speech != self.speech:
            return
        self.speech, was_cancelled, self._is_cancelled = None, self._is_cancelled, False
        rest: list[Sentence] = []
        before_s = 0.0
        for said in self._said:
            start_s = before_s if said.start_s is None else said.start_s
            end_s = start_s + expected_s(said.sentence.text) if said.end_s is None else said.end_s
            before_s = end_s + said.sentence.pause_s
            if end is SpeechEnd.COMPLETED:
                share = 1.0
            elif end_s > start_s:
                share = min(1.0, max(0.0, (heard_s - start_s) / (end_s - start_s)))
            else:
                share = float(heard_s >= end_s)
            heard, left = heard_words(said.sentence.text, share)
            self._heard += f" {heard.strip()}" if heard.strip() else ""
            if left.strip():
                rest.append(Sentence(left.strip(), said.sentence.pause_s))
        self._said = []
        if was_cancelled and not self.is_dropped:
            self._waiting.extendleft(reversed(rest))
        elif end is not SpeechEnd.COMPLETED:
            self.drop(0.0)  # nobody cancelled it: the channel can't say it

    def _cancel(self, at_s: float) -> None:
        if self.speech is not None and not self._is_cancelled:
            self._is_cancelled, self._cancelled_s = True, at_s
            self._actions.append(CancelSpeech(self.speech))
