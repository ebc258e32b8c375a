"""The person's side of a turn: when someone speaks, when that is recognised, and when the turn is over."""

from __future__ import annotations

from enum import Enum, auto

from conversation.turn.actions import Action, DropSound, KeepSound, Recognise, TellTranscript
from conversation.turn.state import TurnRules
from conversation.turn.words import has_words


class _Hears(Enum):
    NOTHING = auto()
    SOMETHING = auto()  # a voice that may be too short to be one
    VOICE = auto()
    PAUSE = auto()
    END = auto()  # of the turn; its words are still being recognised


class Ear:
    """One utterance after another. Each method appends its actions to the list that it was made with."""

    def __init__(self, rules: TurnRules, actions: list[Action]) -> None:
        self.turn = 0
        """That of the utterance while `is_open`."""
        self.words: str | None = None
        """The text of an utterance that is over and recognised, empty where it has no words; `close` resets it."""
        self._rules = rules
        self._actions = actions
        self._hears = _Hears.NOTHING
        self._voice_lasts = False
        self._voice_since_s = 0.0
        self._silent_since_s = 0.0
        self._request = 0
        self._is_asked = False  # the latest request holds all that was said
        self._text: str | None = None
        self._has_failed = False
        self._over_s = rules.over_s  # silence that ends the utterance at this pause

    @property
    def is_open(self) -> bool:
        """Whether someone speaks, or it isn't known yet what was said."""
        return self._hears in (_Hears.VOICE, _Hears.PAUSE, _Hears.END)

    @property
    def is_over(self) -> bool:
        """Whether only the words are missing."""
        return self._hears is _Hears.END

    @property
    def due_s(self) -> float | None:
        """When time alone changes something."""
        rules = self._rules
        if self._hears is _Hears.SOMETHING:
            return self._voice_since_s + rules.voice_s
        if self._hears is _Hears.VOICE:
            return self._voice_since_s + rules.longest_utterance_s
        if self._hears is _Hears.PAUSE:
            pause_s = self._over_s if self._is_asked else rules.ahead_s
            return min(self._silent_since_s + pause_s, self._voice_since_s + rules.longest_utterance_s)
        return None

    def voice_began(self, at_s: float, lasted_s: float) -> None:
        """An utterance whose words aren't known yet goes on: who takes a breath is not cut into two turns."""
        self._voice_lasts = True
        if self._hears is _Hears.NOTHING:
            self._hears, self._voice_since_s = _Hears.SOMETHING, at_s - lasted_s
        elif self.is_open:
            self._hears, self._is_asked, self._text, self._has_failed = _Hears.VOICE, False, None, False
            self._over_s = self._rules.over_s

    def voice_ended(self, at_s: float, lasted_s: float, silent_s: float, next_turn: int) -> bool:
        """Returns whether that was an utterance of its own, which was opened just now as `next_turn`."""
        self._voice_lasts = False
        opened = self._hears is _Hears.SOMETHING and lasted_s >= self._rules.voice_s
        if opened:
            self._open(next_turn)
        if self._hears is _Hears.VOICE:
            self._hears, self._silent_since_s = _Hears.PAUSE, at_s - silent_s
        elif self._hears is _Hears.SOMETHING:
            self._hears = _Hears.NOTHING
        return opened

    def time_passed(self, at_s: float, next_turn: int) -> bool:
        """Returns whether an utterance was opened as `next_turn`."""
        rules, opened = self._rules, False
        if self._hears is _Hears.SOMETHING and at_s >= self._voice_since_s + rules.voice_s:
            self._open(next_turn)
            opened = True
        if self._hears is _Hears.PAUSE:
            if at_s >= self._silent_since_s + rules.ahead_s and not self._is_asked:
                self._recognise()
            if at_s >= self._silent_since_s + self._over_s:
                self.end()
        if self._hears in (_Hears.VOICE, _Hears.PAUSE) and at_s >= self._voice_since_s + rules.longest_utterance_s:
            self.end()
        return opened

    def end(self) -> None:
        """The utterance, if there is one, is over; its words are awaited unless they are there."""
        if self._hears not in (_Hears.VOICE, _Hears.PAUSE):
            return
        if not self._is_asked or self._has_failed:
            self._recognise()
        self._hears = _Hears.END
        self._decide()

    def recognised(self, turn: int, request: int, text: str) -> None:
        """An answer to an older request is out of date: more was said since."""
        if not self.is_open or turn != self.turn or request != self._request or not self._is_asked:
            return
        self._text = text.strip() if has_words(text) else ""
        if self._text and not self.is_over:
            self._actions.append(TellTranscript(turn, self._text, final=False))
        self._decide()

    def judged(self, turn: int, request: int, is_finished: bool) -> None:
        """What a turn detector heard in the sound of that request: the pause is the end, or one to think."""
        is_latest = turn == self.turn and request == self._request and self._is_asked
        if self._hears is not _Hears.PAUSE or not is_latest:
            return
        if is_finished:
            self.end()
        else:
            self._over_s = self._rules.unfinished_s

    def recognition_failed(self, turn: int, request: int) -> bool:
        """Returns whether the utterance is lost by that; while it isn't over, there will be another attempt."""
        if not self.is_open or turn != self.turn or request != self._request or not self._is_asked:
            return False
        self._has_failed = True
        if self.is_over:
            self._text = ""
            self._decide()
        return self.words is not None

    def close(self, at_s: float) -> None:
        """Forget the utterance. A voice that goes on begins another one."""
        if self.is_open:
            self._actions.append(DropSound(self.turn))
        self.words, self._text = None, None
        self._hears, self._voice_since_s = (_Hears.SOMETHING if self._voice_lasts else _Hears.NOTHING), at_s

    def _open(self, turn: int) -> None:
        self.turn, self._hears = turn, _Hears.VOICE
        self._request, self._is_asked, self._text, self._has_failed = 0, False, None, False
        self._over_s = self._rules.over_s
        self._actions.append(KeepSound(turn))

    def _recognise(self) -> None:
        self._request += 1
        self._is_asked, self._has_failed, self._text = True, False, None
        self._actions.append(Recognise(self.turn, self._request))

    def _decide(self) -> None:
        if self.is_over and self._text is not None:
            self.words = self._text
